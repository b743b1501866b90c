import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from redwood.methods.baselines import Finetune
from redwood.methods.regularisation.ewc import EWC
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.methods.training.flops import USES, FlopMeter
from tests.samples import few_digits
from tests.small_runs import run_here, small_setting

HIDDEN = 16
FORWARD = 2 * (64 * HIDDEN + HIDDEN * 10)  # of one sample


def network():
    return nn.Sequential(AsFloats(), nn.Flatten(), nn.Linear(64, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 10))


class AsFloats(nn.Module):
    def forward(self, x):
        return x.float()


def by_hand(sizes):
    """FLOPs of forward and backward passes over batches of these sizes, each counted."""
    model, data = network(), few_digits()
    with FlopCounterMode(display=False) as counter:
        for size in sizes:
            nn.functional.cross_entropy(model(data.x[:size]), data.y[:size]).backward()
    return float(counter.get_total_flops())


def train(method, n_train, **options):
    options = {"dataset": few_digits(n_train), "nb_tasks": 1, "passes": 3, "batch_size": 16} | options
    return run_here(small_setting("class_incremental", **options), method).cost.training_flops


def on_two():
    options = {"dataset": few_digits(160), "nb_tasks": 1, "passes": 2, "batch_size": 16, "validation": 0.25}
    return run_here(small_setting("distributed_class_incremental", **options), Finetune(model=network())).cost


@pytest.mark.parametrize("passes", [1, 3])
class TestFinetune:
    def test_batches_of_one_size_are_counted_exactly(self, passes):
        assert train(Finetune(model=network()), 160, passes=passes) == by_hand([16] * 10 * passes)

    def test_a_ragged_last_batch_is_scaled_by_its_samples(self, passes):
        expected = by_hand(([16] * 9 + [5]) * passes)
        assert train(Finetune(model=network()), 149, passes=passes) == pytest.approx(expected, rel=0.01)

    def test_a_single_batch(self, passes):
        assert train(Finetune(model=network()), 60, passes=passes, batch_size=100) == by_hand([60] * passes)


class TestOtherMethods:
    def test_two_linear_layers_cost_what_the_formula_says(self):
        # Multiply and add, forward and by each of the two gradients; the samples themselves have no gradient.
        assert by_hand([1]) == 2 * (64 * HIDDEN * 2 + HIDDEN * 10 * 3)

    def test_replayed_samples_count(self):
        # The buffer is empty in the first step, holds 16 and 32 of the 32 wanted samples in the next two, then all.
        expected = by_hand([16] + [32] + [48] * 28)
        assert train(Rehearsal(model=network(), replay_ratio=2), 160) == pytest.approx(expected, rel=0.01)

    def test_the_fisher_information_counts(self):
        without, with_fisher = (train(method(model=network()), 160) for method in (Finetune, EWC))
        fisher = with_fisher - without
        assert by_hand([160]) < fisher < 3 * by_hand([160])

    def test_predictions_made_to_score_a_batch_count(self):
        """Where a forward pass cannot serve both, an incoming batch is predicted first."""

        class Predicts(Finetune):
            def predict(self, x, task_id):
                return super().predict(x, task_id)

        extra = train(Predicts(model=network()), 160) - train(Finetune(model=network()), 160)
        assert extra == pytest.approx(FORWARD * 160, rel=0.01)

    def test_a_loss_without_the_network_costs_the_predictions_only(self):
        class Idle(Finetune):
            def loss(self, step):
                return next(self.network.parameters()).sum() * 0

        assert train(Idle(model=network()), 160, passes=1) == FORWARD * 160


class TestFlopMeter:
    def test_nothing_counted(self):
        assert FlopMeter().total() == 0

    def test_work_outside_training_steps(self):
        meter, weight = FlopMeter(), torch.ones(3, 4)
        with meter.count():
            torch.ones(2, 3) @ weight
        assert meter.total() == 2 * 2 * 3 * 4

    def test_uses(self):
        meter, weight = FlopMeter(), torch.ones(3, 4)
        for use in ("training", "validation", "selection", "search", "search"):
            with meter.count(use):
                torch.ones(2, 3) @ weight
        assert meter.by_use() == {"training": 48, "validation": 48, "selection": 48, "search": 96}
        assert meter.total() == 48 + 96

    def test_once_for_each_kind(self):
        meter, weight = FlopMeter(), torch.ones(3, 4)
        for n in (2, 5, 2, 2):
            with meter.count_once("selection", n), FlopCounterMode(display=False):
                torch.ones(n, 3) @ weight
        assert meter.by_use()["selection"] == 2 * 3 * 4 * (2 + 5 + 2 + 2)
        with meter.count_once("selection", 2):
            pass  # its figure is known
        assert meter.by_use()["selection"] == 2 * 3 * 4 * (2 + 5 + 2 + 2 + 2)
        meter.start_anew()
        with meter.count_once("selection", 2):
            pass
        assert meter.by_use()["selection"] == 2 * 3 * 4 * (2 + 5 + 2 + 2 + 2)

    def test_steps_of_a_trial_become_search(self):
        method = Finetune(model=network())
        total = train(method, 160)
        method.flops.move(total / 4)
        assert method.flops.by_use() == dict.fromkeys(USES, 0.0) | {"training": total * 3 / 4, "search": total / 4}
        assert method.flops.total() == total
        other = FlopMeter()
        other.load_state_dict(method.flops.state_dict())
        assert other.by_use() == method.flops.by_use()

    def test_validation_is_counted_apart(self):
        method = Finetune(model=network())
        plain = train(method, 160, passes=1)
        method = Finetune(model=network())
        # 40 of 160 samples are held out, in batches of 16, 16 and 8.
        assert train(method, 160, passes=3, validation=0.25) == pytest.approx(3 * plain * 120 / 160, rel=0.01)
        assert method.flops.by_use()["validation"] == FORWARD * 40 * 3

    def test_workers_add_up(self, two_workers):
        """Each validates its half of the 40 samples held out, after each of two passes and after the phase."""
        first, second = two_workers.run(on_two)
        assert first.flops == second.flops
        assert first.flops["validation"] == [FORWARD * 40 * 3]
        assert first.flops["training"] == [first.training_flops]

    def test_state_is_gone_on_with(self):
        method = Rehearsal(model=network())
        total = train(method, 149)
        other = FlopMeter()
        other.load_state_dict(method.flops.state_dict())
        assert other.total() == total

    def test_counters_are_switched_off_after_training(self):
        method = Finetune(model=network())
        total = train(method, 160)
        method.predict(few_digits().x, None)
        assert method.flops.total() == total
        assert not method.network._forward_pre_hooks
