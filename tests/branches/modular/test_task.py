import pytest
import torch
from torch.nn import functional as F

from redwood.branches.modular.task import HELD_OUT, PhaseClasses, is_held_out, join, select
from redwood.settings.batch import Batch

TWO_TASKS = PhaseClasses((2, 5, 7, 9), {0: (2, 7), 1: (5, 9)})
ONE_TASK = PhaseClasses((2, 7), {3: (2, 7)})


def batch(y, ids):
    return Batch(torch.zeros(len(y), 1), torch.tensor(y), torch.tensor(ids))


class TestClasses:
    def test_labels_become_numbers_of_outputs_and_outputs_become_scores_of_all_classes(self):
        assert TWO_TASKS.local(torch.tensor([9, 2, 5])).tolist() == [3, 0, 1]
        spread = ONE_TASK.spread(torch.tensor([[1.0, 3.0]]), 9)
        assert spread[0, [2, 7]].tolist() == [1, 3] and int(spread.isinf().sum()) == 7

    def test_a_network_with_outputs_for_all_classes_is_cut_to_those_of_the_phase(self):
        outputs = torch.arange(10.0)[None]
        assert ONE_TASK.pick(outputs)[0].tolist() == [2, 7]
        assert ONE_TASK.pick(outputs[:, :2])[0].tolist() == [0, 1]

    def test_the_classes_of_a_sample_s_task_compete(self):
        outputs = torch.tensor([[1.0, 9.0, 2.0, 9.0], [9.0, 1.0, 9.0, 0.5]])
        samples = batch([7, 5], [0, 1])
        assert TWO_TASKS.correct(outputs, samples).tolist() == [True, True]
        expected = [F.cross_entropy(torch.tensor([[1.0, 2.0]]), torch.tensor([1])), None]
        assert TWO_TASKS.losses(outputs, samples)[0] == pytest.approx(float(expected[0]))

    @pytest.mark.parametrize("smoothing", [0.0, 0.3])
    def test_smoothing_is_torch_s_and_spreads_over_the_classes_of_the_task_alone(self, smoothing):
        outputs = torch.randn(3, 2)
        expected = F.cross_entropy(outputs, torch.tensor([0, 1, 0]), reduction="none", label_smoothing=smoothing)
        alone = ONE_TASK.losses(outputs, batch([2, 7, 2], [3, 3, 3]), smoothing)
        wide = torch.full((3, 4), 50.0)
        wide[:, [0, 2]] = outputs
        among = TWO_TASKS.losses(wide, batch([2, 7, 2], [0, 0, 0]), smoothing)
        assert torch.allclose(alone, expected) and torch.allclose(among, expected, atol=1e-5)


class TestHeldOut:
    @pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
    def test_a_share_is_held_out_by_content_alone(self, dtype):
        x = torch.randint(0, 256, (4000, 1, 4, 4), generator=torch.Generator().manual_seed(0)).to(dtype)
        aside = is_held_out(x, 0)
        # Five standard deviations of a binomial.
        assert abs(float(aside.double().mean()) - HELD_OUT) < 5 * (HELD_OUT * (1 - HELD_OUT) / 4000) ** 0.5
        order = torch.randperm(4000)
        assert torch.equal(is_held_out(x[order], 0), aside[order])
        assert not torch.equal(is_held_out(x, 1), aside)

    def test_a_trainer_s_precision_changes_nothing(self):
        x = torch.randn(200, 3)
        assert torch.equal(is_held_out(x, 0), is_held_out(x.double(), 0))

    def test_parts_make_up_the_whole(self):
        whole = batch([0, 1, 2, 3], [0, 0, 1, 1])
        mask = torch.tensor([True, False, True, False])
        again = join([select(whole, mask), select(whole, ~mask)])
        assert again.y.tolist() == [0, 2, 1, 3] and again.task_id.tolist() == [0, 1, 0, 1]
