"""Background samples as a negative class: never predicted, and out-of-class samples are answered less surely."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import redwood
from redwood.branches.background.method import Background
from redwood.branches.background.samples import BackgroundSamples
from redwood.cli import main
from redwood.core.errors import DataError, InvalidOptionError, RedwoodError
from redwood.methods import Finetune, get_method
from redwood.methods.training.step import Step
from redwood.settings.data.catalog import load_dataset
from redwood.settings.data.dataset import Dataset
from redwood.settings.tree import ClassIncrementalSetting, TaskIncrementalSetting
from tests.cli.command import assert_one_sentence
from tests.methods.helpers import batch_of, configured, one_sentence, refused
from tests.regression import line
from tests.samples import few_digits
from tests.small_runs import run_here, small_setting


def split_digits():
    """Digits 0-5 as the stream, 6 and 7 as background; the test images of 8 and 9, which nobody has shown."""
    data = load_dataset("digits", Path(), seed=0, image_size=0)

    def part(name, low, high):
        own, own_test = ((y >= low) & (y < high) for y in (data.y, data.y_test))
        labels = (data.y[own] - low, data.y_test[own_test] - low)
        return Dataset(name, data.x[own], labels[0], data.x_test[own_test], labels[1], max_value=16)

    return part("known", 0, 6), part("background", 6, 8), part("unknown", 8, 10).x_test


def run(method, **options):
    return run_here(small_setting("class_incremental", **options), method)


def test_the_loss_is_the_cross_entropy_with_one_more_class_whose_score_is_0():
    method = configured(Background(background_ratio=0.5))
    batch = batch_of(0, 20)
    unknown = 16 * torch.rand(10, *batch.x.shape[1:])
    method._samples = type("Samples", (), {"draw": lambda self, n: unknown[:n]})()
    step = Step(incoming=batch, on_host=batch, first_pass=True, batch=batch)
    loss = method.loss(step)
    scores = F.pad(method.network(torch.cat([batch.x.float(), unknown])), (0, 1))
    labels = torch.cat([batch.y, torch.full((10,), scores.shape[1] - 1)])
    assert loss.item() == pytest.approx(F.cross_entropy(scores, labels, reduction="sum").item() / 20, rel=1e-5)


def test_the_negative_class_is_never_predicted():
    known, background, _ = split_digits()
    setting = ClassIncrementalSetting(dataset=known, nb_tasks=2, passes=3)
    method = Background(background=background)
    assert setting.apply(method, quiet=True, accelerator="cpu").metrics["average_accuracy"] > 0.3
    scores = method.predict(background.x, None)
    assert scores.shape == (len(background.x), 6)


@pytest.mark.parametrize(
    ("cls", "kinds"), [(ClassIncrementalSetting, ("background", "unknown")), (TaskIncrementalSetting, ("background",))]
)
@pytest.mark.few(1)
def test_samples_of_no_class_get_lower_scores(cls, kinds):
    known, background, unknown = split_digits()
    highest = {}
    for name, options in (("background+rehearsal", {"background": background}), ("rehearsal", {})):
        method = get_method(name)(buffer_size=200, **options)
        setting = cls(dataset=known, nb_tasks=2, passes=10)
        results = setting.apply(method, quiet=True, accelerator="cpu")
        assert results.objective > 0.8
        for kind, x in (("background", background.x_test), ("unknown", unknown)):
            ids = torch.zeros(len(x), dtype=torch.long) if cls is TaskIncrementalSetting else None
            highest[name, kind] = float(method.predict(x, ids).amax(1).mean())
    for kind in kinds:
        assert highest["background+rehearsal", kind] < highest["rehearsal", kind] - 1


def test_joined_with_others():
    for name in ("background+er_ace", "icarl+background", "background+ewc+rehearsal", "lwf+background"):
        method = get_method(name)(background="prototypes")
        run(method)
        assert method.background_seen > 0
    method = get_method("background+rehearsal")(background="prototypes")
    run_here(small_setting("label_budget", query_rule="margin"), method)
    assert method.background_seen > 0


def test_after_the_run_the_data_is_gone():
    method = Background(background="prototypes")
    run(method)
    assert method.background_seen > 0
    assert not any(isinstance(value, BackgroundSamples) for value in vars(method).values())


def test_predictions_of_a_saved_run_need_no_background(tmp_path):
    known, background, unknown = split_digits()
    file, folder = tmp_path / "background.npz", tmp_path / "run"
    np.savez(file, **{name: getattr(background, name).numpy() for name in ("x", "y", "x_test", "y_test")})
    method = Background(background=file)
    run_here(small_setting("class_incremental", dataset=known), method, run_dir=str(folder))
    file.unlink()
    assert torch.equal(redwood.load(folder, device="cpu").method.predict(unknown, None), method.predict(unknown, None))


class TestResumed:
    @pytest.fixture
    def interrupted(self, tmp_path, monkeypatch):
        """Leaves a run after its first phase, and returns what goes on with it."""

        def stop(method, task_id):
            if method.phase_count == 1:
                raise KeyboardInterrupt

        def go_on(background, *, resume=True):
            method, setting = Background(background=background), small_setting("class_incremental")
            return run_here(setting, method, run_dir=str(tmp_path / "run"), resume=resume)

        def interrupt(background):
            with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
                patch.setattr(Background, "on_task_start", stop)
                go_on(background, resume=False)
            return go_on

        return interrupt

    def test_with_the_same_data(self, interrupted):
        _, background, _ = split_digits()
        resumed = interrupted(background)(dataclasses.replace(background))
        assert resumed.accuracy_matrix == run(Background(background=background)).accuracy_matrix

    def test_with_other_data_of_the_same_name(self, interrupted):
        _, background, _ = split_digits()
        go_on = interrupted(background)
        with refused("--background background is not the data that the run started with; give the same", DataError):
            go_on(dataclasses.replace(background, x=background.x.flip(0)))

    def test_with_data_of_another_name(self, interrupted):
        go_on = interrupted("prototypes")
        with refused("other options .background: prototypes in the checkpoint"):
            go_on("")


class TestRefusals:
    @pytest.mark.parametrize("method", ["finetune", "rehearsal", "ncm"])
    def test_other_methods_do_not_have_the_option(self, method, capsys):
        with pytest.raises(TypeError, match="background"):
            get_method(method)(background="prototypes")
        with pytest.raises(TypeError, match="background"):
            small_setting("class_incremental", background="prototypes")
        pair = ["--setting", "class_incremental", "--method", method]
        assert main([*pair, "--background", "prototypes"]) == 2
        said = capsys.readouterr().err
        assert_one_sentence(said)
        assert f"There is no option --background for {' '.join(pair)}" in said

    def test_a_run_without_background(self):
        with pytest.warns(UserWarning, match="No background sample was ever shown; name a data set"):
            run(Background())

    def test_without_background_it_is_fine_tuning(self):
        with pytest.warns(UserWarning, match="No background"):
            results = run(Background())
        assert results.accuracy_matrix == run(Finetune()).accuracy_matrix

    @pytest.mark.parametrize("given", ["name", "object", "both"])
    def test_the_data_of_the_stream(self, given):
        stream = "digits" if given == "name" else few_digits()
        background = dataclasses.replace(few_digits(), name="digits") if given == "both" else stream
        stream = "digits" if given == "both" else stream
        with refused("--background .*digits is the data set of the stream.* choose another one", InvalidOptionError):
            run(Background(background=background), dataset=stream)

    def test_values(self):
        with pytest.raises(InvalidOptionError, match="--background_ratio 0"):
            Background(background_ratio=0.0)
        vectors = dataclasses.replace(few_digits(), x=few_digits().x.flatten(1), x_test=few_digits().x_test.flatten(1))
        with refused("--background digits has samples", DataError):
            run(Background(background="digits"), dataset=vectors)
        with pytest.raises(InvalidOptionError, match="dataset has to be a name"):
            Background(background=3)

    def test_absent_data(self, tmp_path, capsys):
        pair = ["--setting", "class_incremental", "--method", "background", "--dataset", "digits"]
        assert main([*pair, "--background", "nosuch.npz", "--run_dir", str(tmp_path / "run")]) == 2
        said = capsys.readouterr().err
        assert_one_sentence(said)
        assert "The data file nosuch.npz does not exist; give the path" in said
        assert not (tmp_path / "run").exists()

    def test_numbers(self):
        with pytest.raises(RedwoodError) as told:
            run_here(small_setting("domain_incremental", dataset=line()), Background(background="prototypes"))
        assert one_sentence(told.value)
