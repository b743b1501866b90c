import numpy as np
import pytest
import torch
from PIL import Image

import redwood
from redwood.core.errors import DataError, InvalidOptionError, NotApplicableError
from redwood.experiments.trained.export import export_model
from redwood.methods.baselines import Finetune, Random
from redwood.settings import ClassSplit, Dataset
from redwood.settings.tree import ClassIncrementalSetting, DomainIncrementalSetting, TaskIncrementalSetting
from tests.label_sets import few_label_sets
from tests.methods.helpers import refused
from tests.regression import line
from tests.samples import few_digits

DATA = few_digits()
NAMES = tuple(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])


def trained(folder, setting, method=None, **options):
    setting(passes=2, **{"nb_tasks": 2, "dataset": DATA} | options).apply(
        method or Finetune(), run_dir=str(folder), quiet=True, accelerator="cpu"
    )
    return redwood.load(folder, device="cpu")


NAMED = Dataset("named", DATA.x, DATA.y, DATA.x_test, DATA.y_test, max_value=16, class_names=NAMES)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("model") / "run", ClassIncrementalSetting, dataset=NAMED)


class TestAClassifier:
    def test_predicts_the_class_of_the_highest_score(self, model):
        assert torch.equal(model.predict(DATA.x_test), model.scores(DATA.x_test).argmax(1))
        right = (model.predict(DATA.x_test) == DATA.y_test).double().mean()
        assert right == pytest.approx(float(np.mean(model.results.accuracy_matrix[-1])), abs=0.03)

    def test_probabilities_of_the_classes(self, model):
        probabilities = model.predict_proba(DATA.x_test)
        assert probabilities.shape == (len(DATA.x_test), len(model.class_names))
        assert torch.allclose(probabilities.sum(1), torch.ones(len(DATA.x_test), dtype=torch.float64))
        assert torch.equal(probabilities.argmax(1), model.predict(DATA.x_test))
        assert (
            torch.allclose(probabilities, model.scores(DATA.x_test).double().softmax(1)) and (probabilities >= 0).all()
        )

    def test_knows_its_classes_and_its_run(self, model):
        assert model.class_names == NAMES
        assert repr(model) == "<TrainedModel of class_incremental / finetune: 2 phases, 10 classes>"
        assert (model.config["setting"], model.phases, model.results.num_phases) == ("class_incremental", 2, 2)

    def test_features_lead_to_the_scores(self, model):
        features = model.features(DATA.x_test)
        assert torch.equal(model.method.network.head(features), model.scores(DATA.x_test))

    def test_many_samples_are_answered_in_batches(self, model):
        many = DATA.x_test.repeat(12, *[1] * (DATA.x_test.dim() - 1))
        assert torch.allclose(model.scores(many)[-100:], model.scores(DATA.x_test), atol=1e-5)

    def test_integers_and_arrays_are_converted(self, model):
        assert torch.equal(model.scores(DATA.x_test.numpy().astype(np.int64)), model.scores(DATA.x_test))

    @pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint16])
    def test_whole_numbers_in_range_are_converted_whatever_their_type(self, model, dtype):
        assert torch.equal(model.scores(DATA.x_test.numpy().astype(dtype)), model.scores(DATA.x_test))

    @pytest.mark.parametrize(
        ("x", "sentence"),
        [
            (DATA.x_test.double() - 3, "got torch.float64; undo any scaling, as these go from -3 to 13"),
            (DATA.x_test.float() * 2, "trained on samples in 0..16, and these go up to 32; rescale them"),
            (DATA.x_test / 16, "undo any scaling, as these go from 0 to 1"),
            (DATA.x_test[0, 0], r"takes samples \(n, 1, 8, 8\).*x\[None\] for a single sample"),
            (DATA.x_test[:, :, :4], "bring them to that shape"),
            (
                DATA.x_test.permute(0, 2, 3, 1),
                r"array \(\d+, 8, 8, 1\); the channels come first, as np.moveaxis\(x, -1, 1\)",
            ),
            (["a.png"], r"got a list; read image files by model.read_images\(paths\)"),
            (DATA.x_test[:0], "at least one of them"),
            (DATA.x_test / 16, "as they are stored in 0..16, got torch.float32; undo any scaling"),
            (DATA.x_test.long() - 1000, "as they are stored"),
            (DATA.x_test * 10, r"trained on samples in 0..16, and these go up to \d+; rescale them"),
        ],
    )
    def test_other_samples_end_in_one_sentence(self, model, x, sentence):
        with refused(sentence, DataError):
            model.predict(x)

    def test_reads_image_files_as_it_was_trained_on_them(self, model, tmp_path):
        Image.fromarray(np.full((20, 30, 3), 200, np.uint8)).save(tmp_path / "a.png")
        images = model.read_images([tmp_path / "a.png"])
        assert torch.equal(images, torch.full((1, 1, 8, 8), 200, dtype=torch.uint8))
        assert torch.equal(model.read_images(str(tmp_path / "a.png")), images)
        assert torch.equal(model.read_images(tmp_path), images)
        with refused("trained on samples in 0..16, and these go up to 200", DataError):
            model.predict(images)

    def test_reads_the_tests_of_its_run_for_other_scores(self, model):
        scores = [float((model.predict(x) == y).double().mean()) for x, y in model.test_tasks(dataset=NAMED)]
        assert scores == pytest.approx(model.results.accuracy_matrix[-1])
        with pytest.raises(InvalidOptionError, match=r"its dataset from Python; give it again, as in model.test_tasks"):
            model.test_tasks()
        with pytest.raises(DataError, match="The data of the run has changed: training samples: "):
            model.test_tasks(dataset=(DATA.x[:50], DATA.y[:50]))

    def test_has_no_task_ids(self, model):
        with refused("trained under class_incremental, which tells no task; leave task_id out"):
            model.predict(DATA.x_test, 0)

    def test_acts_in_no_environment(self, model):
        with refused("act is for agents", NotApplicableError):
            model.act(DATA.x_test[0])


def test_an_export_does_not_know_the_tests_of_its_run(tmp_path):
    export_model(trained(tmp_path / "run", ClassIncrementalSetting), "safetensors", tmp_path / "exported")
    with pytest.raises(DataError, match="exported does not tell which data the run had, as an export has the model"):
        redwood.load(tmp_path / "exported", device="cpu").test_tasks(dataset=DATA)


def test_a_model_with_task_ids(tmp_path):
    model = trained(tmp_path / "run", TaskIncrementalSetting, stream=ClassSplit(class_order=list(range(10))))
    assert model.predict(DATA.x_test, 1).min() >= 5
    with pytest.raises(InvalidOptionError, match="which tells the task; give task_id"):
        model.predict(DATA.x_test)
    for wrong in (2, -1, 0.5, torch.zeros(3, dtype=torch.long), torch.full((100,), 7)):
        with refused("are one of the numbers 0 to 1 for each", DataError):
            model.predict(DATA.x_test, wrong)


def test_a_model_of_numbers(tmp_path):
    data = line()
    model = trained(tmp_path / "run", DomainIncrementalSetting, dataset=data)
    assert model.predict(data.x_test).shape == data.y_test.shape
    assert model.class_names == ()
    with pytest.raises(NotApplicableError, match="predicts numbers without scores"):
        model.scores(data.x_test)
    with pytest.raises(NotApplicableError, match="predicts numbers without scores"):
        model.predict_proba(data.x_test)


def test_a_model_of_label_sets(tmp_path):
    data = few_label_sets()
    model = trained(tmp_path / "run", DomainIncrementalSetting, dataset=data, nb_tasks=None)
    assert torch.equal(model.predict(data.x_test), model.scores(data.x_test) > 0)
    with pytest.raises(NotApplicableError, match="several labels here, which are no distribution; call scores"):
        model.predict_proba(data.x_test)


def test_a_method_without_features(tmp_path):
    model = trained(tmp_path / "run", ClassIncrementalSetting, Random())
    with refused("random has no features", NotApplicableError):
        model.features(DATA.x_test)


def test_all_objects_that_no_file_holds_are_asked_for_at_once(tmp_path):
    class Network(torch.nn.Sequential):
        def forward(self, x):
            return super().forward(x.flatten(1).float())

    network = Network(torch.nn.Linear(64, 8), torch.nn.ReLU(), torch.nn.Linear(8, 10))
    given = {"augmentation": torch.nn.Identity(), "model": network}
    setting = ClassIncrementalSetting(passes=1, nb_tasks=2, dataset=DATA)
    setting.apply(Finetune(**given), run_dir=str(tmp_path), quiet=True, accelerator="cpu")
    with pytest.raises(InvalidOptionError, match=r"redwood\.load\(folder, augmentation=\.\.\., model=\.\.\.\)\."):
        redwood.load(tmp_path)
    assert redwood.load(tmp_path, device="cpu", **given).results is not None
