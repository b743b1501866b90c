"""A run that is extended takes each class for what it was before, whatever numbers the new data gives to it."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console

import redwood
from redwood.cli import main
from redwood.core.errors import DataError, NotApplicableError
from redwood.engine import loop
from redwood.experiments.runs.runner import execute, resume_run
from redwood.experiments.trained.extend import extended_options
from redwood.methods import get_method
from redwood.settings import ClassSplit, Dataset, Images, TaskList, get_setting
from redwood.settings.scores.results import Results
from redwood.settings.streams.extended import Earlier
from redwood.settings.supervised import SupervisedSetting
from redwood.settings.table import SETTINGS
from tests.cli.command import assert_one_sentence
from tests.experiments.trained.parts_of_a_stream import NAMES, OF_FILES, WAYS, by_name, in_memory, part
from tests.methods.helpers import refused
from tests.small_runs import comparable, run_here

NOT_EXTENDED = {"osaka", "label_budget", "acquisition", "federated_class_incremental"}
EXTENDED = [
    key for key in SETTINGS if issubclass(get_setting(key), SupervisedSetting) and key not in NOT_EXTENDED
]  # fmt: skip


def cells():
    """All settings and ways of making data, from ten seeds; by default one setting, from three seeds."""
    for key in EXTENDED:
        quick = key == "domain_incremental"
        for way in WAYS:
            for tasks in (False, True):
                name = f"{key}-{way}-{'tasks' if tasks else 'one'}"
                yield pytest.param(key, way, tasks, 10, id=name, marks=pytest.mark.slow)
                if quick:
                    yield pytest.param(key, way, tasks, 3, id=f"{name}-quick")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("parts")


def setting_of(key, dataset, *, one_task=False, **options):
    cls = get_setting(key)
    fixed = {"nb_tasks": 1} if one_task and cls.assumptions.shared_outputs else {}
    if isinstance(dataset, str) and "images" in dataset:
        dataset = Images(dataset, image_size=8)
    return cls(dataset=dataset, **fixed, **options)


def first_run(key, way, folder, tasks, seed):
    if way == "arrays":
        return setting_of(key, in_memory([0, 1] if tasks else [0]), one_task=not tasks, seed=seed)
    if not tasks:
        return setting_of(key, part(way, folder, 0), one_task=True, seed=seed)
    return setting_of(key, parts(way, folder, (0, 1)), stream="tasks", seed=seed)


def parts(way, folder, numbers):
    return ",".join(part(way, folder, number) for number in numbers)


def earlier_of(stream):
    space = stream.observation_space
    return Earlier(
        "run",
        stream.total_tasks,
        stream.classes(),
        space,
        stream.feature_names,
        stream.as_earlier(),
        stream.task_names(),
    )


def extended(before, key, dataset, **options):
    return setting_of(key, dataset, **options).after(earlier_of(before)).open_stream()


def wrong_samples(stream, way):
    """The number of training and test samples whose label is not an output of their class."""
    wrong = 0
    for task in range(stream.total_tasks):
        for test in (False, True):
            x, y = stream.samples_of(task, test)
            wrong += int((~by_name(stream.classes().outputs, y, x, way)).sum())
    return wrong


@pytest.mark.parametrize(("key", "way", "tasks", "seeds"), list(cells()))
def test_each_class_keeps_its_outputs_through_two_extensions(key, way, tasks, seeds, folder):
    for seed in range(seeds):
        stream = first_run(key, way, folder, tasks, seed).open_stream()
        assert wrong_samples(stream, way) == 0
        for number in (2, 3):
            before = stream.classes().outputs
            stream = extended(stream, key, part(way, folder, number), one_task=True, seed=seed)
            assert stream.classes().outputs[: len(before)] == before
            assert wrong_samples(stream, way) == 0
            if get_setting(key).assumptions.shared_outputs:
                assert stream.n_outputs == len({name for own in stream.classes().outputs for name in own})


def learned(folder, *arguments):
    """The model of a command."""
    assert main([*arguments, "--run_dir", str(folder), "--quiet"]) == 0
    return redwood.load(folder, device="cpu")


def accuracy(model, way, folder):
    """The accuracy by name on each of the first two parts, whatever output stands for a class."""
    stream = setting_of("traditional", parts(way, folder, (0, 1)), stream="tasks").open_stream()
    found = []
    for task in (0, 1):
        x, _ = stream.samples_of(task, test=True)
        answer = model.predict(x, task if model.takes_task_ids else None)
        found.append(by_name(model.signature.classes.outputs, answer, x, way).double().mean().item())
    return found


def options_of(key, way, method, seed=0):
    passes = [] if "online" in key else ["--passes", "4"]
    size = ["--image_size", "8"] if way == "images" else []
    options = ["--setting", key, "--method", method, "--seed", str(seed), "--accelerator", "cpu", "--batch_size", "4"]
    return [*options, "--lr", "0.05", "--stream", "tasks", *passes, *size]


def trainings():
    """A setting, a way, a method and a seed: one cell by default."""
    quick = [("domain_incremental", "texts", "rehearsal", 0)]
    one_worker = [key for key in EXTENDED if "distributed" not in key]
    more = [(key, "texts", method, 1) for key in one_worker for method in ("finetune", "rehearsal")]
    more += [("domain_incremental", way, "rehearsal", 2) for way in OF_FILES]
    more += [("domain_incremental", "texts", "finetune", seed) for seed in range(3, 10)]
    for cell in quick + more:
        yield pytest.param(*cell, id="-".join(map(str, cell)), marks=[] if cell in quick else [pytest.mark.slow])


@pytest.mark.parametrize(("key", "way", "method", "seed"), list(trainings()))
def test_earlier_tasks_lose_no_more_than_in_one_go(key, way, method, seed, folder, tmp_path):
    options = options_of(key, way, method, seed)
    run, so_far = learned(tmp_path / "1", *options, "--dataset", parts(way, folder, (0, 1))).folder, [0, 1]
    for number in (4, 5):  # with all classes, since a class that does not come again is forgotten in any case
        so_far.append(number)
        arguments = ["extend", str(run), "--dataset", part(way, folder, number), "--nb_tasks", "1"]
        model = learned(tmp_path / str(number), *arguments)
        whole = learned(tmp_path / f"whole{number}", *options, "--dataset", parts(way, folder, so_far))
        own, wanted = accuracy(model, way, folder), accuracy(whole, way, folder)
        assert min(wanted) > 0.5
        assert all(one >= other - 0.05 for one, other in zip(own, wanted, strict=True)), (own, wanted)
        run = model.folder


@pytest.fixture(scope="module")
def runs(folder):
    """A run over two tasks, and one that goes on with a third."""
    options = options_of("domain_incremental", "texts", "rehearsal")
    learned(folder / "first", *options, "--dataset", parts("texts", folder, (0, 1)))
    learned(folder / "second", "extend", str(folder / "first"), "--dataset", part("texts", folder, 2))
    return folder / "first", folder / "second"


def test_data_is_looked_for_where_the_run_found_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    big = tmp_path / "big"
    for number in (0, 1):
        part("images", big, number)
    options = options_of("class_incremental", "images", "finetune")[:-4]
    learned(tmp_path / "first", *options, "--image_size", "8", "--dataset", "images0", "--data_dir", str(big))
    model = learned(tmp_path / "second", "extend", "first", "--dataset", "images1", "--nb_tasks", "1")
    assert model.config["data_dir"] == str(big)
    assert main(["extend", "first", "--dataset", "images2"]) == 2


class TestNamesOfAListOfDataSets:
    def test_go_into_results_predictions_and_exports(self, runs, folder, tmp_path, capsys):
        for number, run in enumerate(runs):
            results = Results.load(run / "results.json")
            assert results.class_names == results.slices.names == list(NAMES[:3])
            table, out = tmp_path / f"{number}.csv", tmp_path / f"exported{number}"
            capsys.readouterr()
            given = ["predict", str(run), "--dataset", part("texts", folder, 1), "--out", str(table)]
            assert main(given) == 0
            assert "accuracy 100.00 %" in capsys.readouterr().out
            predicted = {line.split(",")[1] for line in table.read_text().splitlines()[1:]}
            assert predicted == set(NAMES[:3])
            assert main(["export", str(run), "--format", "onnx", "--out", str(out)]) == 0
            assert json.loads((out / "labels.json").read_text()) == {"class_names": list(NAMES[:3])}

    @pytest.mark.parametrize("key", ["class_incremental", "task_incremental"])
    def test_each_task_has_outputs_of_its_own_unless_they_are_shared(self, key, folder):
        stream = setting_of(key, parts("texts", folder, (0, 2)), stream="tasks").open_stream()
        assert stream.class_names() == ("dent", "ok", "scratch", "ok", "scratch")
        assert extended(stream, key, part("texts", folder, 3), nb_tasks=1).class_names()[5:] == ("ok", "torn")

    def test_shared_outputs_are_those_of_the_same_names(self, folder):
        stream = setting_of("domain_incremental", parts("texts", folder, (0, 2)), stream="tasks").open_stream()
        assert stream.class_names() == NAMES[:3]
        assert stream.samples_of(1)[1].unique().tolist() == [1, 2]

    def test_a_class_without_a_name_is_called_by_its_number_beside_others(self, folder):
        both = ",".join([part("texts", folder, 0), part("integers", folder, 2)])
        assert setting_of("class_incremental", both, stream="tasks").open_stream().class_names() == (
            *NAMES[:3], "0", "1",
        )  # fmt: skip
        shared = setting_of("domain_incremental", both, stream="tasks").open_stream()
        assert shared.class_names() == ("dent / 0", "ok / 1", "scratch")

    def test_a_view_may_give_the_places_of_other_names(self, folder, tmp_path):
        lines = [
            f"- {{dataset: {part('texts', folder, number)}, classes: {own}}}" for number, own in ((0, [0]), (2, [0, 1]))
        ]
        (tmp_path / "tasks.yaml").write_text("\n".join(lines))
        cls = get_setting("domain_incremental")
        stream = cls(stream=TaskList(stream_file=str(tmp_path / "tasks.yaml"))).open_stream()
        assert stream.class_names() == ("dent / ok", "scratch")

    def test_listed_classes_share_outputs_by_their_places_whatever_their_names(self, tmp_path):
        tasks = ((("cat", "dog"), [0, 1]), (("cat", "dog"), [1, 0]), (("Katze", "Hund"), [0, 1]))
        stream = listed(tmp_path, *tasks)
        assert stream.classes().outputs == (("cat", "dog", "Katze"), ("dog", "cat", "Hund"))
        for task, (_, classes) in enumerate(tasks):
            x, y = stream.samples_of(task)
            assert torch.equal(torch.tensor(classes)[y], x[:, 0].long())

    def test_of_which_only_some_list_their_classes_share_outputs_by_name(self, tmp_path):
        with refused("no class of .*2.npz .Katze, Hund. is one of .* or list the classes of each task", DataError):
            listed(tmp_path, (("cat", "dog"), []), (("cat", "dog"), [1, 0]), (("Katze", "Hund"), [0, 1]))

    def test_of_which_none_is_in_common_are_refused(self, folder, tmp_path):
        both = f"{part('texts', folder, 0)},{named(tmp_path / 'others.npz', 'OK', 'Dent')}"
        with refused(r"share their outputs, but no class of .*texts0.npz \(dent, ok, scratch\) is one", DataError):
            setting_of("domain_incremental", both, stream="tasks").open_stream()


def listed(folder, *tasks):
    """The stream of tasks that have names of their classes and list these; the first value of a sample is its class."""
    y = np.arange(40) % 2
    for number, (names, _) in enumerate(tasks):
        np.savez(folder / f"{number}.npz", x=np.stack([y, y], 1).astype(np.float32), y=y, class_names=np.array(names))
    lines = [f"- {{dataset: {folder / f'{n}.npz'}, classes: {classes}}}\n" for n, (_, classes) in enumerate(tasks)]
    (folder / "tasks.yaml").write_text("".join(lines).replace(", classes: []", ""))
    return get_setting("domain_incremental")(stream=TaskList(stream_file=str(folder / "tasks.yaml"))).open_stream()


def named(path, *names):
    x = np.arange(40 * 16, dtype=np.float32).reshape(40, 16)
    np.savez(path, x=x, y=np.array(names)[np.arange(40) % len(names)])
    return path


class TestClassesThatCannotBeMatched:
    @pytest.mark.parametrize(
        ("names", "sentence"),
        [
            (("OK", "Dent"), r"no class of other \(Dent, OK\) is one of the run \(dent, ok, scratch\)"),
            (
                ("4", "5"),
                "The classes of other have no names, and no class of the run is known by the label 4 of other",
            ),
        ],
    )
    def test_where_outputs_are_shared(self, runs, tmp_path, capsys, names, sentence):
        arguments = ["extend", str(runs[0]), "--dataset", str(named(tmp_path / "other.npz", *names))]
        assert main([*arguments, "--run_dir", str(tmp_path / "run")]) == 2
        shown = capsys.readouterr().err
        assert_one_sentence(shown)
        with refused(sentence, DataError):
            raise DataError(shown.removeprefix("error: ").strip())
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize(("first", "then"), [("texts", "integers"), ("integers", "texts")])
    def test_names_and_numbers_where_classes_add_up(self, folder, first, then):
        stream = setting_of("class_incremental", part(first, folder, 0)).open_stream()
        with refused("have no names, unlike those of .* call them by names in both", DataError):
            extended(stream, "class_incremental", part(then, folder, 1))

    def test_label_sets_of_other_labels(self):
        x, y = np.eye(4, dtype=np.float32), np.eye(4, dtype=bool)[:, :3] | np.eye(4, dtype=bool)[:, 1:]

        def sets(*names):
            return Dataset.from_arrays(x, y, x, y, class_names=names)

        key, options = "domain_incremental", {"stream": "instance", "nb_tasks": 1}
        stream = setting_of(key, sets("a", "b", "c"), **options).open_stream()
        later = extended(stream, key, sets("c", "a", "b"), **options)
        assert torch.equal(later.samples_of(1)[1], later.samples_of(0)[1][:, [1, 2, 0]])
        with refused(r"The labels of arrays \(a, b, d\) are not those of the run \(a, b, c\)", DataError):
            extended(stream, key, sets("a", "b", "d"), **options)


class TestClassesAreMatchedByLabel:
    @pytest.mark.parametrize("tasks", [False, True])
    @pytest.mark.parametrize(("first", "then"), [("texts", "integers"), ("integers", "texts")])
    def test_where_one_side_has_no_names_and_outputs_are_shared(self, folder, first, then, tasks):
        for seed in range(5):
            stream = first_run("domain_incremental", first, folder, tasks, seed).open_stream()
            later = extended(stream, "domain_incremental", part(then, folder, 1), one_task=True, seed=seed)
            assert later.classes().outputs == stream.classes().outputs and wrong_samples(later, first) == 0

    def test_where_the_data_sets_of_a_list_disagree_on_them_they_are_refused(self, folder):
        stream = setting_of("domain_incremental", parts("texts", folder, (0, 2)), stream="tasks").open_stream()
        with refused("no class of the run is known by the label 0 of integers1", DataError):
            extended(stream, "domain_incremental", part("integers", folder, 1))

    def test_classes_of_a_split_share_outputs_by_name_or_else_by_place(self, folder):
        data = in_memory([0, 3])
        both = Dataset.from_arrays(data.x, data.y, data.x, data.y, class_names=data.class_names)
        stream = setting_of(
            "domain_incremental", both, nb_tasks=2, stream=ClassSplit(class_order=[3, 0, 1, 2])
        ).open_stream()
        assert stream.class_names() == ("torn / ok", "dent / scratch")
        known = extended(stream, "domain_incremental", in_memory([2]), nb_tasks=1)
        assert known.class_names() == stream.class_names() and wrong_samples(known, "arrays") == 0
        x, y = data.x[:40], data.y[:40] % 2
        others = Dataset.from_arrays(x, y, x, y, class_names=["a", "b"])
        split = extended(stream, "domain_incremental", others, nb_tasks=1, stream=ClassSplit(class_order=[1, 0]))
        assert split.class_names() == ("torn / ok / b", "dent / scratch / a")


def test_a_run_under_osaka_is_not_extended(folder):
    setting = get_setting("osaka")(dataset="digits", timesteps=2)
    stream = setting_of("class_incremental", "digits").open_stream()
    with refused("A run under osaka cannot be extended", NotApplicableError):
        setting.after(earlier_of(stream))


class TestResume:
    def test_of_an_extended_run_ends_as_it_would_have(self, runs, folder, tmp_path, monkeypatch):
        arguments = ["--dataset", part("texts", folder, 3), "--nb_tasks", "2"]
        made = extended_options(runs[1], arguments, trusted=False)
        whole = self.run(made, tmp_path / "whole")
        usual = loop._run_phase

        def stopped(parts, index):
            if index == 4:
                raise RuntimeError("stop")
            return usual(parts, index)

        monkeypatch.setattr(loop, "_run_phase", stopped)
        with pytest.raises(RuntimeError, match="stop"):
            self.run(extended_options(runs[1], arguments, trusted=False), tmp_path / "run")
        monkeypatch.undo()
        assert comparable(resume_run(tmp_path / "run", Console(quiet=True))) == comparable(whole)

    def run(self, made, folder):
        return execute(replace(made, run=replace(made.run, run_dir=str(folder), quiet=True)))

    def test_on_data_that_calls_its_classes_otherwise_is_refused(self, folder, tmp_path):
        data, x = tmp_path / "data.npz", np.arange(64, dtype=np.float32).reshape(16, 4)
        arrays = {"x": x, "y": np.arange(16) % 2, "test": np.arange(16) < 4}
        np.savez(data, **arrays, class_names=np.array(["a", "b"]))
        run = learned(tmp_path / "run", *options_of("class_incremental", "", "finetune")[:-4], "--dataset", str(data))
        shutil.copytree(run.folder, tmp_path / "again")
        (tmp_path / "again" / "results.json").unlink()
        np.savez(data, **arrays, class_names=np.array(["b", "a"]))
        with refused("is of a run on other data .class names: a, b in the checkpoint, b, a in the data now"):
            resume_run(tmp_path / "again", Console(quiet=True))


def learn_two_tasks(dataset, folder):
    options = {"stream": "tasks", "passes": 4, "batch_size": 4}
    setting = setting_of("distributed_domain_incremental", dataset, **options)
    run_here(setting, get_method("rehearsal")(lr=0.02), run_dir=str(folder))


def learn_a_third(dataset, first, folder):
    made = extended_options(first, ["--dataset", dataset], trusted=False)
    return run_here(made.setting, made.method, run_dir=str(folder), context=made.run.context)


def test_two_workers_go_on_with_a_list_of_data_sets(two_workers, folder, tmp_path):
    two_workers.run(learn_two_tasks, parts("texts", folder, (0, 2)), tmp_path / "first")
    third = part("texts", folder, 1)
    results, others = two_workers.run(learn_a_third, third, tmp_path / "first", tmp_path / "second")
    assert comparable(results) == comparable(others)
    assert results.class_names == list(NAMES[:3]) and np.shape(results.accuracy_matrix) == (3, 3)
    assert min(results.accuracy_matrix[-1]) > 0.9
