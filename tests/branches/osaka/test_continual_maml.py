import math
from itertools import pairwise

import pytest
import torch

from redwood.branches.osaka.continual_maml import ContinualMAML
from redwood.core.errors import InvalidOptionError
from tests.branches.osaka.test_maml import fitted
from tests.methods.helpers import step_of, weights_of
from tests.small_runs import NormalisedNetwork, run_here, small_setting

OFF = {"boundary_threshold": 0.0, "update_modulation": 0.0, "prolonged_batches": 0}


def learned(method, batch):
    """Whether the batch gives the slow weights a gradient."""
    method.network.zero_grad()
    method.loss(step_of(batch)).backward()
    return all(weights.grad is not None for weights in method.network.parameters())


class TestAllOff:
    def test_each_batch_tests_what_the_one_before_has_adapted(self):
        method, batches = fitted(ContinualMAML(**OFF))
        assert not learned(method, batches[0])  # nothing has been adapted yet
        for last, batch in pairwise(batches[:4]):
            expected = method.outer_loss(last.x, last.y, batch.x, batch.y)
            torch.testing.assert_close(method.loss(step_of(batch)), expected)
            torch.testing.assert_close(method.fast, method.adapt(method.meta.slow_weights(), batch.x, batch.y))
        assert learned(method, batches[4])
        assert method.boundaries == []

    def test_a_run_moves_the_slow_weights(self):
        method, _ = fitted(ContinualMAML(**OFF))
        before = weights_of(method)
        run_here(small_setting("osaka"), method)
        assert not any(map(torch.equal, before, weights_of(method)))


def outer_step_of(**options):
    """A run of two steps, the second an outer one: how far it moves the slow weights, its loss, and the rates."""
    method = ContinualMAML(**OFF | {"lr": 0.01} | options)
    weights, losses, rates = [], [], []

    def note(step, loss, batch_idx):
        weights.append(weights_of(method))
        losses.append(loss.item())
        rates.append(method.module.trainer.optimizers[0].param_groups[0]["lr"])

    method.on_batch_end = note
    run_here(small_setting("osaka", timesteps=2), method)
    return sum(float((b - a).abs().sum()) for a, b in zip(*weights, strict=True)), losses[1], rates


class TestModulation:
    @pytest.mark.parametrize("optimizer", ["adam", "sgd"])
    @pytest.mark.parametrize("strength", [0.5, 1e-2])
    def test_outer_steps_are_shorter_the_smaller_their_loss(self, optimizer, strength):
        """Also with Adam, which divides a factor of the loss out again."""
        whole, loss, _ = outer_step_of(optimizer=optimizer)
        part, same, _ = outer_step_of(optimizer=optimizer, update_modulation=strength)
        assert part / whole == pytest.approx(1 - math.exp(-strength * loss), rel=0.02)
        assert same == loss  # the factor is no part of what the logs show

    @pytest.mark.parametrize("schedule", ["constant", "cosine"])
    def test_the_learning_rate_stays_as_the_schedule_says(self, schedule):
        (_, _, plain), (_, _, modulated) = (
            outer_step_of(lr_schedule=schedule, update_modulation=strength) for strength in (0.0, 0.5)
        )
        assert len(plain) == 2 and modulated == plain


def switched_stream(**options):
    """A method in a stream of 12 steps whose labels switch once, at step 6."""
    method, batches = fitted(ContinualMAML(lr=0.01, inner_lr=0.5, inner_steps=5, **options), stay_probability=1.0)
    first, second = batches[:6], [batch._replace(y=(batch.y + 1) % 4) for batch in batches[6:]]
    return method, first, second


class TestBoundaries:
    @pytest.mark.parametrize("prolonged", [0, 3])
    def test_a_switch_is_told_where_adapting_anew_helps(self, prolonged):
        options = {"boundary_threshold": 0.75, "update_modulation": 0.0, "prolonged_batches": prolonged}
        method, first, second = switched_stream(**options)
        for batch in [*first, second[0]]:
            method.loss(step_of(batch))
        assert method.boundaries[-1:] == [6]
        assert 5 not in method.boundaries

    def test_it_gives_no_outer_step(self):
        method, first, second = switched_stream(**OFF | {"boundary_threshold": 0.75})
        for batch in first:
            learned(method, batch)
        assert not learned(method, second[0])
        assert learned(method, second[1])

    def test_a_high_threshold_tells_none(self):
        method, first, second = switched_stream(**OFF | {"boundary_threshold": 1000.0})
        for batch in [*first, *second]:
            method.loss(step_of(batch))
        assert method.boundaries == []


class TestProlonged:
    def test_the_fast_weights_go_on(self):
        method, first, _ = switched_stream(**OFF | {"prolonged_batches": 9})
        method.loss(step_of(first[0]))
        before = method.fast
        method.loss(step_of(first[1]))
        torch.testing.assert_close(method.fast, method.adapt(before, first[1].x, first[1].y))

    def test_at_a_boundary_they_start_anew(self):
        method, first, second = switched_stream(**OFF | {"prolonged_batches": 9, "boundary_threshold": 0.75})
        for batch in [*first, second[0]]:
            slow = {name: value.clone() for name, value in method.meta.slow_weights().items()}
            method.loss(step_of(batch))
        torch.testing.assert_close(method.fast, method.adapt(slow, second[0].x, second[0].y))
        assert len(method.batches) == 1

    def test_so_many_batches_make_one_outer_step(self):
        method, first, _ = switched_stream(**OFF | {"prolonged_batches": 2})
        assert [learned(method, batch) for batch in first] == [False, False, True, False, True, False]
        x, y = torch.cat([first[4].x, first[5].x]), torch.cat([first[4].y, first[5].y])
        expected = method.outer_loss(x[::2], y[::2], x[1::2], y[1::2])
        torch.testing.assert_close(method.loss(step_of(first[0])), expected)

    def test_no_more_batches_are_kept(self):
        results = run_here(small_setting("osaka", timesteps=30), ContinualMAML(**OFF | {"prolonged_batches": 3}))
        assert results.cost.buffer_bytes <= 3 * 16 * (64 + 8)


@pytest.mark.parametrize("name", ["boundary_threshold", "update_modulation", "prolonged_batches"])
def test_bad_values(name):
    with pytest.raises(InvalidOptionError, match=f"--{name} -1 has to be at least 0"):
        ContinualMAML(**{name: -1})


def test_two_samples_are_not_split_for_layers_that_need_two():
    torch.manual_seed(0)
    method = ContinualMAML(model=NormalisedNetwork(n_outputs=2), boundary_threshold=1e-6)
    results = run_here(small_setting("osaka", ways=2, shots=1, timesteps=12), method)
    assert results.online_curve and len(method.boundaries) > 1
