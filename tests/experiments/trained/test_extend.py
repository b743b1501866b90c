"""A run that is extended ends as one run over all the data would have."""

import re
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from rich.console import Console

import redwood
from redwood.branches.generative.generative_rehearsal import GenerativeRehearsal
from redwood.cli import main
from redwood.core.errors import DataError, NotApplicableError, RedwoodError
from redwood.core.parts import flat
from redwood.engine import loop
from redwood.experiments.command_line.config_file import read_arguments
from redwood.experiments.report.tables import print_results, summary_of
from redwood.experiments.runs.runner import execute
from redwood.experiments.trained.card import model_card
from redwood.experiments.trained.export import export_model
from redwood.experiments.trained.extend import extended_options
from redwood.methods import get_method
from redwood.methods.baselines import Finetune
from redwood.methods.networks import build_network
from redwood.methods.networks.parts import MultiLayerPerceptron
from redwood.methods.replay.gdumb import GDumb
from redwood.settings import ClassSplit, Dataset, get_setting
from redwood.settings.scores.results import Results
from tests.cli.command import assert_one_sentence
from tests.leak_check import reachable
from tests.methods.helpers import refused
from tests.samples import few_digits, save_digits
from tests.small_runs import OPTIONS

ALL = few_digits(n_train=300, n_test=150)
X = ALL.x_test[torch.arange(60)]
# What all methods below need not know before the run: with the same outputs in all tasks, nothing.
SAME_OUTPUTS = ["finetune", "rehearsal", "der_pp", "ewc", "si", "lwf", "agem", "gdumb", "ncm"]
NEW_CLASSES = ["ncm", "slda", "ranpac", "moving_window", "just_in_time"]
GROWING = ["rehearsal", "der_pp", "ewc", "lwf", "icarl", "bic", "wa", "ncm"]

NARROW = MultiLayerPerceptron(widths=[4, 4])


def save(path, classes, tasks=None):
    return save_digits(path, classes, ALL, tasks)


def split_by_task(folder):
    """A file of five tasks with the same classes, and files of its first two and its last three."""
    whole = dict(np.load(save(folder / "whole.npz", list(range(10)), tasks=5)))
    for name, own in (("first", (0, 1)), ("rest", (2, 3, 4))):
        part = {}
        for split in ("", "_test"):
            rows = np.isin(whole[f"t{split}"], own)
            part |= {f"{key}{split}": whole[f"{key}{split}"][rows] for key in ("x", "y", "t")}
            part[f"t{split}"] = part[f"t{split}"] - own[0]
        np.savez(folder / f"{name}.npz", **part)


def run(folder, setting, method, dataset, *, learner=None, **options):
    learner = learner or get_method(method)(**OPTIONS.get(method, {}))
    made = get_setting(setting)(**{"dataset": str(dataset), "passes": 2, "batch_size": 16} | options)
    return made.apply(learner, run_dir=str(folder), quiet=True, accelerator="cpu"), learner


def extend(folder, child, *arguments, **options):
    made = extended_options(folder, [*map(str, arguments)], trusted=False, **options)
    made = replace(made, run=replace(made.run, run_dir=str(child), quiet=True))
    return execute(made), made.method


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("extend")
    save(folder / "first_classes.npz", [0, 1, 2, 3])
    save(folder / "more_classes.npz", [4, 5, 6, 7, 8, 9])
    save(folder / "all_classes.npz", list(range(10)))
    split_by_task(folder)
    return folder


@pytest.fixture(scope="module")
def parent(folder):
    run(folder / "parent", "class_incremental", "rehearsal", folder / "first_classes.npz", **in_order(4))
    return folder / "parent"


def in_order(classes):
    return {"nb_tasks": classes // 2, "stream": ClassSplit(class_order=list(range(classes)))}


MORE = ("--nb_tasks", 3, "--class_order", *range(6))


class TestTwoTasksAndThreeAreFive:
    @pytest.mark.parametrize("method", SAME_OUTPUTS)
    @pytest.mark.few(1)
    def test_of_the_same_classes(self, folder, tmp_path, method):
        run(tmp_path / "two", "domain_incremental", method, folder / "first.npz")
        extended, learner = extend(tmp_path / "two", tmp_path / "five", "--dataset", folder / "rest.npz")
        whole, other = run(tmp_path / "whole", "domain_incremental", method, folder / "whole.npz", eval_tasks="seen")
        self.check(extended, learner, whole, other)

    @pytest.mark.parametrize("method", NEW_CLASSES)
    @pytest.mark.few(1)
    def test_of_new_classes(self, folder, tmp_path, method):
        run(tmp_path / "two", "class_incremental", method, folder / "first_classes.npz", **in_order(4))
        data = folder / "more_classes.npz"
        extended, learner = extend(tmp_path / "two", tmp_path / "five", "--dataset", data, *MORE)
        options = {"eval_tasks": "seen", **in_order(10)}
        whole, other = run(tmp_path / "whole", "class_incremental", method, folder / "all_classes.npz", **options)
        assert extended.class_names == whole.class_names or not whole.class_names
        self.check(extended, learner, whole, other)

    def test_of_a_method_that_starts_anew_from_a_file_of_weights(self, folder, tmp_path):
        space = get_setting("domain_incremental")(dataset=str(folder / "first.npz")).observation_space
        torch.save(build_network("mlp", space, 10).state_dict(), tmp_path / "weights.pth")
        given = {"model": {"mlp": {"weights": str(tmp_path / "weights.pth")}}, "memory_passes": 1, "lr": 1e-9}
        run(tmp_path / "two", "domain_incremental", "gdumb", folder / "first.npz", learner=GDumb(**given))
        extended, learner = extend(tmp_path / "two", tmp_path / "five", "--dataset", folder / "rest.npz")
        data, whole = folder / "whole.npz", GDumb(**given)
        results, whole = run(tmp_path / "whole", "domain_incremental", "gdumb", data, learner=whole, eval_tasks="seen")
        self.check(extended, learner, results, whole)
        start = torch.load(tmp_path / "weights.pth")
        assert all(
            torch.allclose(value, start[name], atol=1e-5) for name, value in learner.network.state_dict().items()
        )

    def check(self, extended, learner, whole, other):
        lower = [[row[task] for task in range(phase + 1)] for phase, row in enumerate(whole.accuracy_matrix)]
        assert [row[: phase + 1] for phase, row in enumerate(extended.accuracy_matrix)] == lower
        assert extended.online_curve == whole.online_curve
        assert extended.cost.training_samples == whole.cost.training_samples
        answers = []
        for method in (learner, other):
            torch.manual_seed(0)
            answers.append(method.predict(X, None))
        assert torch.equal(*answers)


class TestNewClasses:
    @pytest.mark.parametrize("method", GROWING)
    @pytest.mark.few(2)
    def test_what_was_learned_of_the_old_ones_stays(self, folder, tmp_path, method, monkeypatch):
        _, before = run(tmp_path / "two", "class_incremental", method, folder / "first_classes.npz", **in_order(4))
        answers = []
        usual = loop._train_phases

        def train_phases(parts, *arguments, **options):
            answers.append(parts.method.predict(X, None))
            return usual(parts, *arguments, **options)

        monkeypatch.setattr(loop, "_train_phases", train_phases)
        _, after = extend(tmp_path / "two", tmp_path / "five", "--dataset", folder / "more_classes.npz", *MORE)
        old, new = before.predict(X, None), answers[0]
        assert new.shape == (60, 10)
        assert torch.equal(new[:, :4], old) or torch.allclose(new[:, :4], old, atol=1e-5)
        assert not torch.equal(after.predict(X, None), new)

    @pytest.mark.parametrize(
        "options",
        [
            {"method": "ewc", "model": NARROW},
            {
                "method": "finetune",
                "model": NARROW,
                "optimizer": "adam",
                "optimizer_state": "keep",
                "lr": 0.01,
            },
            {"method": "rehearsal", "buffer_size": 4},
            {"method": "lwf", "model": NARROW},
        ],
        ids=lambda options: options["method"],
    )
    @pytest.mark.few(1)
    def test_nothing_else_grows_that_has_as_many_entries_as_classes(self, folder, tmp_path, options):
        learner = get_method(options["method"])(**{name: value for name, value in options.items() if name != "method"})
        made = get_setting("class_incremental")(dataset=str(folder / "first_classes.npz"), passes=2, **in_order(4))
        made.apply(learner, run_dir=str(tmp_path / "two"), quiet=True, accelerator="cpu")
        results, _ = extend(tmp_path / "two", tmp_path / "five", "--dataset", folder / "more_classes.npz", *MORE)
        assert len(results.accuracy_matrix) == 5

    def test_classes_that_come_back_keep_their_outputs(self, folder, tmp_path):
        run(tmp_path / "two", "class_incremental", "ncm", folder / "first_classes.npz", **in_order(4))
        data = save(tmp_path / "again.npz", [2, 3, 4])
        results, _ = extend(tmp_path / "two", tmp_path / "run", "--dataset", data, "--nb_tasks", 1)
        assert results.class_names == []  # they are called by their numbers, 0 to 4
        assert redwood.load(tmp_path / "run").class_names == ("0", "1", "2", "3", "4")
        assert min(results.accuracy_matrix[-1]) > 0.7

    def test_classes_with_other_numbers_are_new_ones(self, tmp_path):
        for name, classes in (("first", [0, 1, 2, 3]), ("more", [3, 6, 9])):
            rows, rows_test = (np.isin(y.numpy(), classes) for y in (ALL.y, ALL.y_test))
            tests = {"x_test": ALL.x_test[rows_test], "y_test": ALL.y_test[rows_test]}
            np.savez(tmp_path / f"{name}.npz", x=ALL.x[rows], y=ALL.y[rows], **tests)
        run(tmp_path / "two", "class_incremental", "ncm", tmp_path / "first.npz", **in_order(4))
        results, _ = extend(tmp_path / "two", tmp_path / "run", "--dataset", tmp_path / "more.npz", "--nb_tasks", 1)
        assert redwood.load(tmp_path / "run").class_names == ("0", "1", "2", "3", "6", "9")
        assert min(results.accuracy_matrix[-1]) > 0.7

    def test_tasks_that_share_outputs_share_them_by_the_names_of_classes(self, tmp_path):
        for name, classes in (("first", [1, 3]), ("more", [3, 5])):
            save(tmp_path / f"{name}.npz", classes, tasks=2)
        run(tmp_path / "two", "domain_incremental", "ncm", tmp_path / "first.npz")
        results, _ = extend(tmp_path / "two", tmp_path / "four", "--dataset", tmp_path / "more.npz")
        assert results.class_names == ["1", "3", "5"]
        assert min(results.accuracy_matrix[-1]) > 0.8

    def test_a_method_that_has_to_know_them_says_so(self, folder, tmp_path):
        setting = get_setting("class_incremental")(dataset=str(folder / "first_classes.npz"), passes=1, nb_tasks=2)
        setting.apply(GenerativeRehearsal(), run_dir=str(tmp_path / "two"), quiet=True, accelerator="cpu")
        with refused("generative_rehearsal has to know all tasks and classes beforehand", NotApplicableError):
            extend(tmp_path / "two", tmp_path / "five", "--dataset", folder / "more_classes.npz")
        assert not (tmp_path / "five").exists()


class TestTheNewRun:
    def test_shows_its_method_no_sample_of_the_old_one(self, parent, folder):
        options = extended_options(
            parent, ["--dataset", str(folder / "more_classes.npz"), *map(str, MORE)], trusted=False
        )
        assert any(isinstance(value, Dataset) for value in reachable(options.setting))
        found = [
            value for value in reachable(options.setting.for_method()) if isinstance(value, Dataset | torch.Tensor)
        ]
        assert found == []

    def test_may_be_without_tests_where_the_old_one_had_some(self, folder, parent, tmp_path):
        arguments = ("--dataset", folder / "more_classes.npz", *MORE, "--eval_tasks", "none")
        results, _ = extend(parent, tmp_path / "run", *arguments)
        assert results.tested and results.accuracy_matrix[-1] == [None] * 5
        stored = Results.load(tmp_path / "run" / "results.json")
        assert stored.metrics["average_accuracy"] is stored.metrics["forgetting"] is None
        assert stored.metrics["online_accuracy"] > 0 and (tmp_path / "run" / "accuracy_curve.png").exists()

    def test_leaves_the_old_one_alone_and_names_it(self, folder, parent, tmp_path):
        before = {path: path.read_bytes() for path in parent.rglob("*") if path.is_file()}
        extend(parent, tmp_path / "run", "--dataset", folder / "more_classes.npz", *MORE)
        assert {path: path.read_bytes() for path in parent.rglob("*") if path.is_file()} == before
        config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
        assert (config["extends"], flat(config)["dataset"]) == (str(parent), str(folder / "more_classes.npz"))
        with refused(f"goes on from the one in {parent}.*give extend"):
            read_arguments(tmp_path / "run" / "config.yaml", set(), trusted=True)

    def test_is_extended_in_turn(self, folder, tmp_path):
        for name, classes in (("a", [0, 1]), ("b", [2, 3]), ("c", [4, 5])):
            save(tmp_path / f"{name}.npz", classes)
        run(tmp_path / "1", "class_incremental", "ncm", tmp_path / "a.npz", nb_tasks=1)
        extend(tmp_path / "1", tmp_path / "2", "--dataset", tmp_path / "b.npz", "--nb_tasks", 1)
        results, _ = extend(tmp_path / "2", tmp_path / "3", "--dataset", tmp_path / "c.npz", "--nb_tasks", 1)
        assert len(results.accuracy_matrix) == len(results.accuracy_matrix[-1]) == 3
        assert None not in results.accuracy_matrix[-1]
        shutil.rmtree(tmp_path / "1")
        with pytest.warns(UserWarning, match="There is no run in the folder .* is not measured"):
            results, _ = extend(tmp_path / "2", tmp_path / "4", "--dataset", tmp_path / "c.npz")
        assert np.shape(results.accuracy_matrix) == (1, 1)

    def test_measures_the_new_tasks_alone_if_the_old_data_is_gone(self, folder, tmp_path):
        data = Path(shutil.copy(folder / "first_classes.npz", tmp_path))
        run(tmp_path / "two", "class_incremental", "ncm", data, **in_order(4))
        data.unlink()
        with pytest.warns(UserWarning, match="cannot be read .*what is forgotten of it is not measured"):
            results, _ = extend(tmp_path / "two", tmp_path / "five", "--dataset", folder / "more_classes.npz", *MORE)
        assert np.shape(results.accuracy_matrix) == (3, 3) and results.phases_before == 2
        model = redwood.load(tmp_path / "five")
        assert model.phases == 5
        assert model.class_names == tuple("0123456789")
        assert (model.predict(X) == ALL.y_test[:60]).double().mean() > 0.5

    def test_of_one_task_alone_has_no_forgetting_if_the_old_data_is_gone(self, folder, tmp_path, capsys):
        data = Path(shutil.copy(folder / "first_classes.npz", tmp_path))
        run(tmp_path / "two", "class_incremental", "ncm", data, **in_order(4))
        data.unlink()
        with pytest.warns(UserWarning, match="what is forgotten of it is not measured"):
            extend(tmp_path / "two", tmp_path / "three", "--dataset", folder / "more_classes.npz")
        results = Results.load(tmp_path / "three" / "results.json")
        assert (results.phases_before, results.num_phases) == (2, 1)
        assert results.metrics["forgetting"] is None and results.metrics["backward_transfer"] is None
        print_results(results, Console())
        assert "The scores are those of the new tasks alone" in capsys.readouterr().out
        assert "average accuracy on the new tasks " in repr(results)
        assert summary_of(results).startswith("average accuracy on the new tasks ")
        assert "in 3 phases" in model_card(redwood.load(tmp_path / "three"), "safetensors", "folder")

    @pytest.mark.parametrize("seed", [0, 1])
    def test_warns_of_training_on_what_earlier_tasks_are_tested_on(self, seed, tmp_path):
        """Both runs draw the test samples of one file, by their seeds."""
        np.savez(tmp_path / "all.npz", x=ALL.x, y=ALL.y)
        run(tmp_path / "one", "class_incremental", "ncm", tmp_path / "all.npz", nb_tasks=1)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            extend(tmp_path / "one", tmp_path / "two", "--dataset", tmp_path / "all.npz", "--seed", seed)
        assert any("equal to test samples of the run" in str(each.message) for each in caught) == (seed == 1)

    def test_goes_on_with_a_stream_that_announces_nothing(self, folder, tmp_path):
        run(tmp_path / "one", "continual", "rehearsal", folder / "first_classes.npz", **in_order(4))
        results, learner = extend(tmp_path / "one", tmp_path / "two", "--dataset", folder / "more_classes.npz", *MORE)
        assert np.shape(results.accuracy_matrix) == (1, 3)
        assert learner.predict(X, None).shape == (60, 10)


class TestTrust:
    def test_code_that_an_earlier_run_names_is_run_only_if_trusted(self, folder, tmp_path, capsys):
        code = tmp_path / "own.py"
        code.write_text("from redwood.settings.data.image_sets import digits as data\n")
        arguments = ["--setting", "class_incremental", "--method", "ncm", "--dataset", f"{code}:data", "--quiet"]
        assert main([*arguments, "--nb_tasks", "2", "--run_dir", str(tmp_path / "1")]) == 0
        more = ["--dataset", "digits", "--nb_tasks", "2", "--quiet"]
        assert main(["extend", str(tmp_path / "1"), "--trust", *more, "--run_dir", str(tmp_path / "2")]) == 0
        capsys.readouterr()
        assert main(["extend", str(tmp_path / "2"), *more, "--run_dir", str(tmp_path / "3")]) == 2
        says(capsys, "names code that would be run, dataset: .*own.py:data")
        (tmp_path / "2" / "results.json").unlink()
        assert main(["resume", str(tmp_path / "2")]) == 2
        says(capsys, "names code that would be run")
        assert main(["resume", str(tmp_path / "2"), "--trust"]) == 0


class TestFromPython:
    def test_a_model_learns(self, parent, folder, tmp_path):
        model = redwood.load(parent, device="cpu")
        data = Dataset.from_arrays(**np.load(folder / "more_classes.npz"), name="more")
        results = model.learn(data, run_dir=tmp_path / "run", nb_tasks=3, quiet=True)
        assert len(results.accuracy_matrix[-1]) == 5
        assert (model.folder, model.phases, len(model.class_names)) == (tmp_path / "run", 5, 10)

    def test_a_model_learns_arrays(self, parent, folder, tmp_path):
        model, more = redwood.load(parent, device="cpu"), np.load(folder / "more_classes.npz")
        before = model.class_names
        model.learn((more["x"], more["y"]), run_dir=tmp_path / "run", quiet=True)
        assert model.class_names == (*before, *sorted(set(more["y"].tolist())))

    def test_a_model_of_an_earlier_phase_is_exported_as_such_and_does_not_learn(self, folder, tmp_path):
        method = get_method("finetune")()
        made = get_setting("class_incremental")(dataset=str(folder / "first_classes.npz"), passes=2, **in_order(4))
        options = {"keep_checkpoints": "all", "quiet": True, "accelerator": "cpu"}
        made.apply(method, run_dir=str(tmp_path / "run"), **options)
        model = redwood.load(tmp_path / "run", phase=0)
        assert (model.phases, model.results) == (1, None)
        export_model(model, "safetensors", tmp_path / "exported")
        assert torch.equal(redwood.load(tmp_path / "exported").scores(X), model.scores(X))
        assert not torch.equal(redwood.load(tmp_path / "run").scores(X), model.scores(X))
        with refused("is the one after phase 0; load it without phase"):
            model.learn(str(folder / "more_classes.npz"))

    def test_a_failure_leaves_it_as_it_was(self, parent, tmp_path):
        model = redwood.load(parent, device="cpu")
        before = model.scores(X)
        with pytest.raises(RedwoodError):
            model.learn("missing.npz", run_dir=tmp_path / "run")
        assert torch.equal(model.scores(X), before)
        assert not (tmp_path / "run").exists()


def says(capsys, sentence):
    """The user was shown one sentence, which matches."""
    shown = capsys.readouterr().err
    assert_one_sentence(shown)
    assert re.search(sentence, shown), shown


class TestCommandLine:
    def test_extend(self, parent, folder, tmp_path, capsys):
        arguments = ["extend", str(parent), "--dataset", str(folder / "more_classes.npz"), "--nb_tasks", "3"]
        assert main([*arguments, "--run_dir", str(tmp_path / "run")]) == 0
        shown = capsys.readouterr().out
        assert f"goes on from the run in {parent}, after its 2 phases" in shown.splitlines()
        assert f"options as in {parent}: --batch_size=16 --passes=2" in shown.splitlines()
        assert "wall time of all sittings" in shown
        card = model_card(redwood.load(tmp_path / "run"), "safetensors", "mine")
        data = [str(folder / f"{name}_classes.npz") for name in ("first", "more")]
        assert yaml.safe_load(card.split("---")[1])["datasets"] == data
        assert f"# rehearsal on {data[0]}, then {data[1]}" in card.splitlines()
        results = Results.load(tmp_path / "run" / "results.json")
        assert len(results.accuracy_matrix) == 5
        capsys.readouterr()

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            ([], "extend learns from further data; name it by --dataset"),
            (["--method", "ewc"], "leave --method out"),
            (["--seeds", "3", "--dataset", "digits"], "leave --seeds out"),
            (["--dataset", "digits", "--lerning_rate", "1"], "no option --lerning_rate"),
            (["--dataset", "digits", "--transition", "blurry"], "--transition blurry goes over a whole stream"),
            (["--dataset", "drift_regression:abrupt"], "the targets of .* are numbers|trained on"),
        ],
    )
    def test_bad_input_ends_in_one_sentence(self, parent, capsys, arguments, sentence):
        assert main(["extend", str(parent), *arguments]) == 2
        says(capsys, sentence)

    def test_other_samples(self, parent, tmp_path, capsys):
        np.savez(tmp_path / "wide.npz", x=np.zeros((20, 1, 9, 9), np.uint8), y=np.arange(20) % 2)
        assert main(["extend", str(parent), "--dataset", str(tmp_path / "wide.npz")]) == 2
        says(capsys, "the run was trained on")

    @pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float64])
    @pytest.mark.few(1)
    def test_samples_are_judged_by_their_values_as_those_to_predict(self, folder, parent, tmp_path, dtype):
        # Digits in memory are known to go up to 16; of bytes in a file nobody has said so.
        digits = few_digits(n_train=100)
        made = get_setting("class_incremental")(dataset=digits, passes=1, nb_tasks=2)
        made.apply(Finetune(), run_dir=str(tmp_path / "first"), quiet=True, accelerator="cpu")
        x, x_test = (part.numpy().astype(dtype)[:, 0] for part in (digits.x, digits.x_test))
        np.savez(tmp_path / "more.npz", x=x, y=digits.y, x_test=x_test, y_test=digits.y_test)
        predicted = redwood.load(tmp_path / "first").predict(x_test)
        assert predicted.shape == (100,)
        with pytest.warns(UserWarning, match="it was given from Python"):
            results, _ = extend(tmp_path / "first", tmp_path / "run", "--dataset", tmp_path / "more.npz")
        assert len(results.accuracy_matrix) == 1
        np.savez(tmp_path / "more.npz", x=x * 10.5, y=digits.y)
        with refused("trained on samples in 0..16, and the samples of more go up to 168|go from 0 to 168", DataError):
            extend(tmp_path / "first", tmp_path / "no", "--dataset", tmp_path / "more.npz")

    def test_a_run_that_is_not_over(self, parent, tmp_path, capsys):
        copied = Path(shutil.copytree(parent, tmp_path / "copy"))
        (copied / "results.json").unlink()
        assert main(["extend", str(copied), "--dataset", "digits"]) == 2
        says(capsys, "is not over; finish it by python cli.py resume")

    def test_environments(self, tmp_path, capsys):
        arguments = ["--setting", "incremental_rl", "--method", "random", "--nb_tasks", "2", "--steps_per_task", "20"]
        assert main([*arguments, "--test_episodes", "1", "--run_dir", str(tmp_path / "run"), "--quiet"]) == 0
        capsys.readouterr()
        assert main(["extend", str(tmp_path / "run"), "--dataset", "digits"]) == 2
        says(capsys, "cannot be extended|no option")


def test_a_trained_module_grows_only_if_it_has_the_outputs(folder, tmp_path):
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 4)).double()

    class Cast(torch.nn.Module):
        def forward(self, x):
            return x.double()

    given = torch.nn.Sequential(Cast(), network)
    setting = get_setting("class_incremental")(dataset=str(folder / "first_classes.npz"), passes=1, **in_order(4))
    setting.apply(Finetune(model=given), run_dir=str(tmp_path / "two"), quiet=True, accelerator="cpu")
    with refused("give it 10 outputs"):
        extend(tmp_path / "two", tmp_path / "five", "--dataset", folder / "more_classes.npz", given={"model": given})
