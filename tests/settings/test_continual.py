"""The protocol of the supervised settings; tests of a child setting inherit those of its parent."""

from collections import Counter
from itertools import chain, pairwise

import pytest
import torch

from redwood.settings import ClassSplit
from redwood.settings.tree import ContinualSetting, TaskAgnosticSetting
from tests.recorder import record, record_each_worker
from tests.samples import N_CLASSES, N_TEST, numbered

DATA = numbered()
GROUPS = [[5, 0], [3, 1], [4, 2]]
N_TASKS = len(GROUPS)
TASK_OF_CLASS = {label: task for task, group in enumerate(GROUPS) for label in group}
TASK_OF_ROW = [TASK_OF_CLASS[label] for label in DATA.y.tolist()]


def rows_of(batches):
    """Rows of the data set that batches hold, in order."""
    return [int(value) for batch in batches for value in batch.x[:, 0]]


def flat(lists):
    return list(chain(*lists))


class TestContinual:
    """What every node keeps is tested here; the attributes and `shows_*` say what differs from node to node."""

    setting = ContinualSetting
    passes = 2
    workers = 1
    boundaries = False
    ids_in_training = False
    ids_at_test = False
    shared_outputs = False
    phases = 1

    def tasks_of_phase(self, index):
        """The tasks whose samples a phase holds."""
        return set(range(N_TASKS))

    def announced_task(self, index):
        """The id that hooks and phase are given."""
        return None

    def label(self, row_label):
        """The label shown for a class of the data set."""
        return GROUPS[TASK_OF_CLASS[row_label]].index(row_label) if self.shared_outputs else row_label

    def check_order(self, tasks):
        """`tasks` are those of the samples of one pass, in the order of the stream."""
        changes = sum(a != b for a, b in pairwise(tasks))
        assert changes > N_TASKS - 1, "tasks overlap"
        assert set(tasks[:6]) == {0}
        assert set(tasks[-6:]) == {N_TASKS - 1}

    def make(self, **options):
        return self.setting(
            dataset=DATA,
            **{
                "nb_tasks": N_TASKS,
                "stream": ClassSplit(class_order=flat(GROUPS)),
                "batch_size": 4,
                "passes": self.passes,
            }
            | options,
        )

    @pytest.fixture(scope="class")
    @classmethod
    def recording(cls, request):
        return record_each_worker(request, record, cls().make(), cls.workers)

    @pytest.fixture
    def results(self, recording):
        return recording[0]

    @pytest.fixture
    def logs(self, recording):
        return recording[1]

    def expected_rows(self, index):
        """Rows that one pass of a phase holds."""
        return [row for row, task in enumerate(TASK_OF_ROW) if task in self.tasks_of_phase(index)]

    def test_hooks_come_in_this_order(self, logs):
        expected = [("attach",), ("configure",), ("predict",)]
        for index in range(self.phases):
            fit = [("fit",)]
            if self.boundaries:
                task = self.announced_task(index)
                fit = [("on_task_start", task), ("fit",), ("on_task_end", task)]
            expected += [*fit, ("predict",)]
        for log in logs:
            assert log.hooks == [*expected, ("on_finish",)]

    def test_every_evaluation_shows_each_test_sample_once(self, logs):
        for evaluation in range(self.phases + 1):
            shown = torch.cat([log.tested[evaluation][0] for log in logs])
            assert sorted(shown[:, 0].tolist()) == DATA.x_test[:, 0].tolist()

    def test_task_ids_at_test(self, logs):
        for x, ids in flat(log.tested for log in logs):
            truth = [TASK_OF_CLASS[label] for label in DATA.y_test[x[:, 0].long() - 1000].tolist()]
            assert (None if ids is None else ids.tolist()) == (truth if self.ids_at_test else None)

    def test_task_ids_in_training(self, logs):
        for batch in flat(fitted.batches() for log in logs for fitted in log.fitted):
            truth = [TASK_OF_ROW[row] for row in rows_of([batch])]
            assert (None if batch.task_id is None else batch.task_id.tolist()) == (
                truth if self.ids_in_training else None
            )

    def test_labels_in_training(self, logs):
        for batch in flat(fitted.batches() for log in logs for fitted in log.fitted):
            assert batch.y.tolist() == [self.label(label) for label in DATA.y[rows_of([batch])].tolist()]

    def test_each_phase_presents_its_samples_as_often_as_there_are_passes(self, logs):
        for index in range(self.phases):
            seen = Counter(flat(rows_of(log.fitted[index].batches()) for log in logs))
            assert seen == Counter(dict.fromkeys(self.expected_rows(index), self.passes))

    def test_steps_are_announced(self, logs):
        for fitted in flat(log.fitted for log in logs):
            assert fitted.steps == len(fitted.batches())

    def test_what_a_phase_says_of_itself(self, logs):
        for index, fitted in chain(*(enumerate(log.fitted) for log in logs)):
            classes = {task: tuple(sorted(map(self.label, GROUPS[task]))) for task in self.tasks_of_phase(index)}
            assert fitted.index == index
            assert fitted.task_id == self.announced_task(index)
            assert fitted.task_classes == (classes if self.ids_in_training else None)

    def test_order_of_the_stream(self, logs):
        for index in range(self.phases):
            first = [rows_of(log.fitted[index].epochs[0]) for log in logs]
            if not self.boundaries:  # the batches of an ordered stream are repeated
                first = [rows_of(log.fitted[index].epochs[0][:: self.passes]) for log in logs]
            assert flat(first) != sorted(flat(first))
            self.check_order([TASK_OF_ROW[row] for row in flat(first)])

    def test_the_view_of_the_setting_hides_what_is_not_announced(self, logs):
        for log in logs:
            assert log.view["stream"] == "class_split"
            assert log.view["nb_tasks"] == (N_TASKS if self.boundaries else None)
            assert log.view["dataset"] == "numbered"
            assert log.view["action_space"].n == (2 if self.shared_outputs else N_CLASSES)
            assert log.view["observation_space"].shape == (2,)
            assert log.view["observation_space"].high.tolist() == DATA.x.amax(0).tolist()

    def test_no_test_data_can_be_reached(self, logs):
        assert flat(log.leaks for log in logs) == []

    def test_test_samples_are_no_views(self, logs):
        for x, _ in flat(log.tested for log in logs):
            assert x._base is None
            assert x.untyped_storage().nbytes() == x.nbytes

    def test_accuracy_is_that_of_the_constant_answer(self, results):
        hits = [0] * N_TASKS
        for label in DATA.y_test.tolist():
            hits[TASK_OF_CLASS[label]] += self.label(label) == 0
        accuracy = [hit / (N_TEST // N_TASKS) for hit in hits]
        assert results.accuracy_matrix == [accuracy] * self.phases
        assert results.untrained_accuracy == accuracy

    def test_samples_are_counted(self, results):
        rows = [self.expected_rows(index) for index in range(self.phases)]
        labels = [self.label(label) for label in DATA.y[flat(rows)].tolist()]
        assert results.cost.training_samples == self.passes * len(labels)
        assert results.online_curve[-1][0] == len(labels)
        assert results.metrics["online_accuracy"] == pytest.approx(labels.count(0) / len(labels))

    def test_results_name_the_setting(self, results):
        assert results.setting.replace("_", "") == type(self).__name__.removeprefix("Test").lower()


class TestTaskAgnostic(TestContinual):
    setting = TaskAgnosticSetting

    def check_order(self, tasks):
        assert tasks == sorted(tasks)
