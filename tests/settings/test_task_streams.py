"""`--stream tasks`: one data set or part of one after the other, and runs over a part of such a stream."""

import pytest
import torch

from redwood.core.errors import DataError, InvalidOptionError
from redwood.methods import get_method
from redwood.settings import TaskList, get_setting
from redwood.settings.data import parts
from redwood.settings.data.dataset import Dataset
from tests.samples import few_digits
from tests.small_runs import FixedRule, run_here

LINES = [
    "{dataset: digits, classes: [0, 1, 2], train_per_class: 12, validation_per_class: 6, test_per_class: 10, name: A}",
    "{dataset: digits, classes: [5, 6], transform: permuted, seed: 1, train_per_class: 8, validation_per_class: 4}",
    "{dataset: digits, classes: [3, 4], transform: inverted, train_per_class: 8, validation_per_class: 4}",
    "{dataset: digits, classes: [0, 1, 2], train_per_class: 4, validation_per_class: 2, label_order: [2, 0, 1]}",
]


@pytest.fixture
def stream_file(tmp_path):
    path = tmp_path / "tasks.yaml"
    path.write_text("".join(f"- {line}\n" for line in LINES))
    return str(path)


def make(key, stream_file="", first_task=0, **options):
    cls = get_setting(key)
    passes = {} if "online" in key else {"passes": 2}
    return cls(stream=TaskList(stream_file=stream_file, first_task=first_task), batch_size=8, **passes | options)


def served(phase, part="train"):
    batches = getattr(phase, part)
    epochs = batches.epochs if part == "train" else 1
    return [(batch.x, batch.y, batch.task_id) for _ in range(epochs) for batch in batches]


def alike(one, other):
    return len(one) == len(other) and all(
        torch.equal(a, b) for left, right in zip(one, other, strict=True) for a, b in zip(left, right, strict=True)
    )


class TestStream:
    def test_each_task_has_classes_of_its_own(self, stream_file):
        setting = make("task_incremental", stream_file)
        phases = list(setting.phases())
        assert setting.action_space.n == 10 and setting.for_method().nb_tasks == 4
        assert [phase.task_classes for phase in phases] == [{0: (0, 1, 2)}, {1: (3, 4)}, {2: (5, 6)}, {3: (7, 8, 9)}]
        for number, phase in enumerate(phases):
            assert phase.task_id == number
            assert (
                sum(len(batch.y) for batch in phase.validation)
                == len(phase.task_classes[number]) * (6, 4, 4, 2)[number]
            )

    def test_validation_samples_are_never_served(self, stream_file):
        for phase in make("task_incremental", stream_file).phases():
            x, held_out = (torch.cat([x for x, *_ in served(phase, part)]) for part in ("train", "validation"))
            assert not (x.flatten(1)[:, None] == held_out.flatten(1)).all(2).any()

    def test_shared_outputs_count_each_tasks_classes_from_0(self, stream_file):
        setting = make("domain_incremental", stream_file)
        assert setting.action_space.n == 3
        assert [sorted(set(torch.cat([y for _, y, _ in served(p)]).tolist())) for p in setting.phases()] == [
            [0, 1, 2],
            [0, 1],
            [0, 1],
            [0, 1, 2],
        ]

    @pytest.mark.parametrize(
        "key", ["continual", "task_agnostic", "multi_task", "cumulative", "cumulative_task_incremental"]
    )
    def test_under_all_settings(self, key, stream_file):
        results = run_here(make(key, stream_file), FixedRule())
        assert len(results.accuracy_matrix[-1]) == 4
        assert results.dataset == "tasks" and results.config["task_list"][0] == {"name": "A"}

    def test_names_of_data_sets(self):
        setting = make("task_incremental", dataset="digits,digits")
        assert setting.action_space.n == 20 and len(list(setting.phases())) == 2
        assert setting.dataset_name == "digits,digits"

    def test_each_data_set_is_loaded_once(self, monkeypatch):
        loaded = []
        monkeypatch.setattr(parts, "load_dataset", lambda name, *_: (loaded.append(name), few_digits())[1])
        make("task_incremental", dataset="digits,mnist,digits").open_stream()
        get_setting("task_incremental")(stream="s_minus").open_stream()
        assert loaded == ["digits", "mnist", "digits", "prototypes"]

    def test_nothing_of_the_tasks_to_come_is_shown(self, stream_file):
        view = make("continual", stream_file).for_method()
        assert view.stream == "tasks" and view.nb_tasks is None


class TestFirstTask:
    @pytest.mark.parametrize("key", ["task_incremental", "class_incremental", "cumulative_task_incremental"])
    def test_a_task_is_the_same_whatever_the_first_one_is(self, key, stream_file):
        whole, part = make(key, stream_file), make(key, stream_file, first_task=1, nb_tasks=2)
        assert whole.observation_space == part.observation_space and whole.action_space == part.action_space
        phases, own = list(whole.phases()), list(part.phases())
        assert len(own) == 2 and [phase.index for phase in own] == [0, 1]
        for one, other in zip(phases[1:3], own, strict=True):
            assert (one.task_id, one.task_classes) == (other.task_id, other.task_classes)
            for kind in ("train", "validation"):
                assert alike(served(one, kind), served(other, kind))

    def test_random_numbers_of_a_phase_follow_from_its_task(self, stream_file):
        class Draws(FixedRule):
            def fit(self, phase):
                super().fit(phase)
                self.drawn = [*getattr(self, "drawn", []), torch.rand(()).item()]

        methods = [Draws(), Draws()]
        whole, part = (
            run_here(make("task_incremental", stream_file, **options), method)
            for options, method in zip(({}, {"first_task": 2}), methods, strict=True)
        )
        assert methods[0].drawn[2:] == methods[1].drawn
        assert [row[2:] for row in whole.accuracy_matrix[2:]] == part.accuracy_matrix
        assert part.config["task_list"] == whole.config["task_list"][2:]

    @pytest.mark.parametrize("method", ["finetune", "packnet", "hat", "pnn", "icarl", "der", "ewc"])
    def test_methods_know_a_task_by_its_number_in_the_whole_stream(self, method, stream_file):
        results = run_here(make("task_incremental", stream_file, first_task=2), get_method(method)())
        assert len(results.accuracy_matrix) == len(results.accuracy_matrix[0]) == 2

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ({"first_task": 4}, "--first_task 4 is none of the 4 tasks of tasks, which count from 0; use at most 3"),
            (
                {"first_task": 3, "nb_tasks": 2},
                "--nb_tasks 2 is more than the 1 tasks of tasks that are left from task 3",
            ),
            ({"nb_tasks": 5}, "--nb_tasks 5 is more than the 4 tasks"),
            ({"validation": 0.2}, "--validation 0.2 holds out samples of tasks, which names its validation samples"),
        ],
    )
    def test_a_part_that_is_not_there(self, options, sentence, stream_file):
        with pytest.raises(InvalidOptionError, match=sentence):
            make("task_incremental", stream_file, **options).open_stream()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"stream_file": "x.yaml", "dataset": "mnist"}, "--dataset mnist and --stream_file x.yaml both name the data"),
        ({"first_task": -1}, "--first_task -1 has to be at least 0"),
    ],
)
def test_options_that_do_not_fit(options, sentence):
    with pytest.raises(InvalidOptionError, match=sentence):
        make("task_incremental", **options)


def test_a_data_set_in_memory_has_no_list():
    x, y = torch.zeros(4, 2), torch.tensor([0, 0, 1, 1])
    with pytest.raises(InvalidOptionError, match="but own is one in memory; use --stream contexts"):
        make("task_incremental", dataset=Dataset("own", x, y, x, y))


def test_a_data_set_that_is_not_there(tmp_path):
    path = tmp_path / "tasks.yaml"
    path.write_text("- {dataset: gone.npz}\n")
    with pytest.raises(DataError, match=r"The data file .*gone.npz does not exist"):
        make("task_incremental", str(path), data_dir=str(tmp_path)).open_stream()
