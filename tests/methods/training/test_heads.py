import pytest
import torch

from redwood.methods.baselines import Finetune
from redwood.methods.training.heads import TaskHeads
from redwood.settings import Blurry, ClassSplit
from tests.samples import few_digits
from tests.small_runs import run_here, small_setting

SCORES = torch.arange(12.0).view(2, 6)


def allowed(heads, task):
    """The outputs that are not masked for a sample of the task."""
    scores = heads.mask(torch.zeros(1, 6), torch.tensor([task]))[0]
    assert set(scores.tolist()) <= {0, -torch.inf}
    return torch.isfinite(scores).nonzero()[:, 0].tolist()


@pytest.fixture
def heads():
    heads = TaskHeads(6, active=True)
    heads.learn({0: (1, 4)})
    heads.learn({2: (0,), 1: (2, 3)})
    return heads


class TestMask:
    def test_only_the_classes_of_the_task_compete(self, heads):
        assert [allowed(heads, task) for task in range(3)] == [[1, 4], [2, 3], [0]]

    def test_scores_of_each_sample_are_masked_by_its_own_task(self, heads):
        masked = heads.mask(SCORES, torch.tensor([1, 0]))
        inf = torch.inf
        assert masked.tolist() == [[-inf, -inf, 2, 3, -inf, -inf], [-inf, 7, -inf, -inf, 10, -inf]]
        assert torch.equal(SCORES, torch.arange(12.0).view(2, 6))

    @pytest.mark.parametrize("task", [3, 4, 99])
    def test_everything_is_possible_for_tasks_not_met_yet(self, heads, task):
        assert allowed(heads, task) == list(range(6))
        assert allowed(TaskHeads(6, active=True), task) == list(range(6))

    def test_a_task_skipped_so_far_is_not_met(self):
        heads = TaskHeads(6, active=True)
        heads.learn({3: (5,)})
        assert allowed(heads, 1) == list(range(6))
        assert allowed(heads, 3) == [5]

    def test_classes_of_a_task_add_up_over_phases(self, heads):
        heads.learn({0: (5,)})
        assert allowed(heads, 0) == [1, 4, 5]
        assert allowed(heads, 1) == [2, 3]

    def test_a_task_that_uses_all_outputs_is_met(self, heads):
        heads.learn({3: tuple(range(6))})
        heads.learn({3: (2,)})
        assert allowed(heads, 3) == list(range(6))

    def test_outputs_are_of_tasks_that_were_met(self):
        heads = TaskHeads(6, active=True)
        heads.learn({0: (1,), 2: (3, 4)})
        assert [row.nonzero()[:, 0].tolist() for row in heads.outputs()] == [[1], [3, 4]]

    def test_inactive_heads_mask_nothing(self):
        heads = TaskHeads(6, active=False)
        heads.learn({0: (1,)})
        assert heads.mask(SCORES, torch.tensor([0, 0])) is SCORES

    def test_hidden_tasks_teach_nothing(self, heads):
        heads.learn(None)
        assert allowed(heads, 0) == [1, 4]

    def test_state_is_gone_on_with(self, heads):
        other = TaskHeads(6, active=True)
        other.load_state_dict(heads.state_dict())
        heads.learn({3: (5,)})
        assert [allowed(other, task) for task in range(4)] == [[1, 4], [2, 3], [0], list(range(6))]

    def test_what_was_met_is_part_of_the_state(self, heads):
        heads.learn({3: tuple(range(6))})
        other = TaskHeads(6, active=True)
        other.load_state_dict(heads.state_dict())
        other.learn({3: (0,)})
        assert allowed(other, 3) == list(range(6))


class TestInARun:
    def test_predictions_stay_within_the_task(self):
        setting, method = (
            small_setting("task_incremental", stream=ClassSplit(class_order=list(range(10))), passes=1),
            Finetune(),
        )
        run_here(setting, method)
        groups = [{0, 1, 2, 3}, {4, 5, 6}, {7, 8, 9}]
        x = setting.dataset.source.x_test
        for task, group in enumerate(groups):
            predicted = method.predict(x, torch.full((len(x),), task)).argmax(1)
            assert set(predicted.tolist()) <= group

    def test_stray_samples_do_not_narrow_the_classes_of_a_task(self):
        options = {"stream": "instance", "transition": Blurry(blur=0.02), "passes": 1, "dataset": few_digits(320)}
        setting, method = small_setting("task_incremental", **options), Finetune()
        run_here(setting, method)
        assert method.heads.outputs().all()

    def test_ids_that_a_test_hides_mask_nothing(self):
        setting, method = small_setting("class_incremental", passes=1), Finetune()
        run_here(setting, method)
        x, ids = setting.dataset.source.x_test, torch.zeros(100, dtype=torch.long)
        assert torch.equal(method.logits(x, ids), method.logits(x, None))
