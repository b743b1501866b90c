"""Tests of all tasks in one batched pass: how often a method is asked, and that the scores are those of each task."""

import math

import pytest
import torch

from redwood.engine.run import Run
from redwood.methods import METHODS, get_method
from redwood.settings.base import why_not_applicable
from redwood.settings.data.dataset import Dataset
from redwood.settings.scores import evaluation
from redwood.settings.scores.evaluation import TEST_BATCH
from redwood.settings.tree import ClassIncrementalSetting, ContinualSetting, TaskIncrementalSetting
from tests.label_sets import few_label_sets
from tests.regression import line
from tests.small_runs import OPTIONS, FixedRule, run_here, small_setting

N_TASKS, N_CLASSES, N_EACH = 40, 80, 30
# Of the methods below: one of masked outputs, and one of a network for each task.
QUICK = ("finetune", "pnn")


def many_tasks():
    """Two classes and 60 test samples for each of 40 tasks."""
    random = torch.Generator().manual_seed(0)
    y = torch.arange(N_CLASSES).repeat(N_EACH)
    x, x_test = (torch.rand(len(y), 8, generator=random) for _ in range(2))
    return Dataset("many_tasks", x, y, x_test, y.clone())


class Asked(FixedRule):
    """Notes the samples of each call of `predict`, and how many tasks they are of."""

    def configure(self, setting):
        super().configure(setting)
        self.sizes, self.tasks = [], []

    def fit(self, phase):
        pass

    def predict(self, x, task_id):
        self.sizes.append(len(x))
        if task_id is not None:
            self.tasks.append(len(set(task_id.tolist())))
        return (x.flatten(1).sum(1) * 1000).long() % int(self._space.n)


class TestNumberOfCalls:
    def test_batches_fill_up_across_tasks(self):
        method, n_test = Asked(), N_CLASSES * N_EACH
        run_here(TaskIncrementalSetting(dataset=many_tasks(), nb_tasks=N_TASKS, batch_size=10), method)
        passes = 1 + N_TASKS
        assert len(method.sizes) == passes * math.ceil(n_test / TEST_BATCH)
        assert sum(method.sizes) == passes * n_test
        assert min(method.tasks) == N_TASKS  # all tasks in each mini-batch, whose neighbours tell nothing

    def test_only_tasks_seen(self):
        method = Asked()
        setting = TaskIncrementalSetting(dataset=many_tasks(), nb_tasks=N_TASKS, batch_size=10, eval_tasks="seen")
        run_here(setting, method)
        assert method.sizes[0] == 2 * N_EACH
        assert len(method.sizes) == sum(math.ceil(2 * N_EACH * seen / TEST_BATCH) for seen in range(1, N_TASKS + 1))

    def test_held_out_samples_fill_up_across_phases(self):
        method = Asked()
        setting = TaskIncrementalSetting(
            dataset=many_tasks(), nb_tasks=N_TASKS, batch_size=10, validation=0.5, eval_tasks="none"
        )
        run_here(setting, method)
        assert method.sizes == [
            size
            for phase in range(1, N_TASKS + 1)
            for size in [TEST_BATCH] * (N_EACH * phase // TEST_BATCH) + [N_EACH * phase % TEST_BATCH]
            if size
        ]


class TestScores:
    @pytest.mark.parametrize("setting", [ClassIncrementalSetting, TaskIncrementalSetting])
    def test_held_out_samples_of_each_phase_alone(self, setting, monkeypatch):
        setting = setting(dataset=many_tasks(), nb_tasks=N_TASKS, batch_size=10, validation=0.5)
        stream, method = setting.open_stream(), Asked()
        method.attach(Run(quiet=True, accelerator="cpu"))
        method.configure(setting.for_method())
        together = stream.validate(method, N_TASKS - 1)
        alone = [
            stream._evaluation.by_part(method, stream._source, [held_out.entries]) for held_out in stream._held_out
        ]
        assert [together] == list(map(list, zip(*alone, strict=True)))
        assert len(set(together)) > 2
        monkeypatch.setattr(evaluation, "TEST_BATCH", 7)
        assert stream.validate(method, N_TASKS - 1) == together

    def test_a_phase_that_holds_out_nothing_has_no_score(self):
        setting = ClassIncrementalSetting(dataset=many_tasks(), nb_tasks=N_TASKS, batch_size=10, validation=0.5)
        stream, method = setting.open_stream(), Asked()
        method.attach(Run(quiet=True, accelerator="cpu"))
        method.configure(setting.for_method())
        empty, filled = (stream._held_out[1].entries[torch.arange(n)] for n in (0, 8))
        scores = stream._evaluation.by_part(method, stream._source, [empty, filled, empty])
        assert scores[0] is scores[2] is None and scores[1] is not None

    def test_label_sets_of_each_part_alone(self):
        setting = ClassIncrementalSetting(dataset=few_label_sets(), batch_size=10)
        stream = setting.open_stream()

        class FirstFeatures(FixedRule):
            def predict(self, x, task_id):
                return x[:, : stream.n_outputs]

        tested = [stream._test[(stream._test.tasks == task).nonzero().flatten()] for task in range(2)]
        together = stream._evaluation.by_part(FirstFeatures(), stream._test_source, tested)
        alone = [stream._evaluation.by_part(FirstFeatures(), stream._test_source, [own])[0] for own in tested]
        assert together == pytest.approx(alone) and together[0] != pytest.approx(together[1])

    def test_errors_of_numbers(self):
        setting = ContinualSetting(dataset=line(), nb_tasks=2, batch_size=10)
        stream = setting.open_stream()

        class Nought(FixedRule):
            def predict(self, x, task_id):
                return torch.zeros(len(x), *stream.action_space.shape)

        tested = [stream._test[(stream._test.tasks == task).nonzero().flatten()] for task in range(2)]
        found = stream._evaluation.by_part(Nought(), stream._test_source, tested)
        targets = [stream._test_source.labels(own) for own in tested]
        assert found == pytest.approx([float(own.square().mean().sqrt()) for own in targets])


@pytest.mark.parametrize(
    "method",
    [
        pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow])
        for name in METHODS
        if why_not_applicable(TaskIncrementalSetting, get_method(name)) is None and name != "random"
    ],
)
def test_one_pass_scores_each_task_as_a_pass_of_its_own(method):
    """A mini-batch mixes the tasks; each sample is still answered by the head, path or mask of its own task."""
    setting = small_setting("task_incremental")
    learner = get_method(method)(**OPTIONS.get(method, {}))
    run_here(setting, learner)
    stream = setting.open_stream()
    together = stream.evaluate(learner)
    test = stream._test
    for task in range(stream.num_tasks):
        own = test[(test.tasks == task).nonzero().flatten()]
        alone = stream._evaluation.by_task(learner, stream._test_source, own, range(task, task + 1))
        assert alone.per_task == [together.per_task[task]]
    assert len(set(test.tasks[:20].tolist())) > 1
