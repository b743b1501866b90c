"""A network that grows in a run."""

import random
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from redwood.branches.growing.widen import LossWatch, Widen
from redwood.core.errors import InvalidOptionError
from redwood.methods.training.optimizers import Sgd
from redwood.methods.training.step import Step
from tests.methods.helpers import batch_of, configured, one_sentence, step_of
from tests.samples import few_digits
from tests.small_runs import run_here, small_setting


@dataclass
class Planted(Widen):
    """Takes the fourth and the sixth loss for a change."""

    widen_when: str = "event"  # boundary (event where none is announced), or event: when the loss shows a change

    def configure(self, setting: Any) -> None:
        super().configure(setting)
        self.noted = 0
        self.widths: list[int] = []

    def shows_change(self, loss: Tensor) -> bool:
        super().shows_change(loss)
        self.noted += 1
        return self.noted in (4, 6)

    def augment(self, step: Step) -> None:
        self.widths.append(self.pairs[0].n_units)
        super().augment(step)


def run(method, key="class_incremental", **options):
    results = run_here(small_setting(key, **options), method)
    return results, [pair.n_units for pair in method.pairs]


class TestBoundaries:
    @pytest.mark.parametrize("mode", ["zero_outgoing", "net2wider", "near_zero"])
    def test_it_grows_at_each_new_task(self, mode):
        method = Widen(widen_units=5, widen_mode=mode)
        results, widths = run(method)
        assert widths == [266, 266]
        sizes = 64 * 266 + 266 + 266 * 266 + 266 + 266 * 10 + 10
        assert results.cost.parameters == sizes

    def test_not_where_there_is_one_phase(self):
        assert run(Widen(), "traditional")[1] == [256, 256]

    def test_growth_does_not_change_the_answers(self):
        method = configured(Widen())
        x = few_digits().x_test
        before = method.predict(x, None)
        method.grow()
        assert float((method.predict(x, None) - before).abs().max()) <= 1e-6

    def test_moments_that_are_kept_grow_along(self):
        method = Widen(widen_units=5, optimizer="adam", lr=0.001, optimizer_state="keep")
        run(method)
        assert method.kept is not None
        for number, weights in enumerate(method.network.parameters()):
            assert method.kept["state"][number]["exp_avg"].shape == weights.shape

    def test_flops_follow_the_width(self):
        narrow, wide = (run(Widen(widen_units=units), nb_tasks=2)[0].cost.training_flops for units in (1, 256))
        assert wide > 1.5 * narrow


class TestEvents:
    @pytest.mark.parametrize("options", [{"optimizer": Sgd(momentum=0.9)}, {"optimizer": "adam", "lr": 0.001}])
    def test_it_grows_inside_a_phase_and_goes_on(self, options):
        method = Planted(widen_units=5, **options)
        run(method, "continual", passes=1)
        assert method.widths == [256] * 4 + [261] * 2 + [266] * 4
        new = method.network.head.weight[:, 256:]
        assert bool(new.any()), "new units are trained"

    def test_repeats_of_a_batch_are_not_watched(self):
        method = Planted()
        run(method, "continual", passes=3)
        assert method.noted == 10

    def test_where_no_boundary_is_announced_the_loss_decides(self):
        """It falls as long as the classes stay the same, and rises when there are others."""
        options = {"widen_window": 10, "widen_patience": 2, "lr": 0.02}
        for nb_tasks, growths in ((2, 1), (1, 0)):
            method = Widen(**options)
            run(method, "task_agnostic", nb_tasks=nb_tasks, passes=2, batch_size=4)
            assert method.growths == growths

    def test_two_workers_grow_alike(self, two_workers):
        first, second = two_workers.run(grown_in_ddp)
        assert first[0] == second[0] == [266, 266]
        assert all(map(torch.equal, first[1], second[1]))


def grown_in_ddp():
    method = Planted(widen_units=5, optimizer=Sgd(momentum=0.9))
    _, widths = run(method, "distributed_class_incremental")
    return widths, [weights.detach() for weights in method.network.parameters()]


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ({"widen_units": 0}, "--widen_units 0 has to be at least 1"),
            ({"widen_mode": "deeper"}, "--widen_mode deeper is unknown; choose one of zero_outgoing, net2wider"),
            ({"widen_when": "never"}, "--widen_when never is unknown"),
            ({"widen_window": 1}, "--widen_window 1 has to be at least 2"),
            ({"widen_patience": 0}, "--widen_patience 0 has to be"),
        ],
    )
    def test_values_out_of_range(self, options, sentence):
        with pytest.raises(InvalidOptionError, match=sentence):
            Widen(**options)

    def test_a_network_that_cannot_be_widened(self):
        with pytest.raises(InvalidOptionError, match="cannot be widened") as caught:
            configured(Widen(model="slim_resnet18"))
        assert one_sentence(caught.value)


def lognormal(seed, n, scale=1.0):
    numbers = random.Random(seed)
    return [scale * numbers.lognormvariate(0, 0.5) for _ in range(n)]


def fired(watch, losses):
    return [step for step, loss in enumerate(losses) if watch.update(loss)]


def test_a_planted_change_is_noticed_soon_and_once():
    for seed in range(5):
        steps = fired(LossWatch(50, 5), lognormal(seed, 300) + lognormal(seed + 100, 300, scale=8))
        assert len(steps) == 1
        assert 304 <= steps[0] < 315


def test_each_change_is_noticed():
    losses = [loss for number in range(4) for loss in lognormal(number, 200, scale=6.0**number)]
    assert [step // 200 for step in fired(LossWatch(50, 5), losses)] == [1, 2, 3]


def test_stationary_losses_hardly_ever_fire():
    """At most one alarm in 10,000 losses of a heavy tail."""
    assert sum(len(fired(LossWatch(50, 5), lognormal(seed, 1000))) for seed in range(10)) <= 1


def test_falling_losses_and_single_outliers_do_not_fire():
    assert not fired(LossWatch(50, 5), [2.0 * 0.99**step for step in range(1000)])
    losses = lognormal(0, 1000)
    losses[500] = 20.0
    assert not fired(LossWatch(50, 5), losses)


def test_it_goes_on_from_a_state():
    losses = lognormal(1, 120) + lognormal(2, 30, scale=8)
    whole, first, second = LossWatch(50, 5), LossWatch(50, 5), LossWatch(50, 5)
    steps = fired(whole, losses)
    assert steps
    assert not fired(first, losses[:123])
    second.load_state_dict(first.state_dict())
    assert [step + 123 for step in fired(second, losses[123:])] == steps
    assert second.state_dict() == whole.state_dict()


class TestProtection:
    def grown(self, **options):
        method = configured(Widen(widen_units=4, **options))
        method.grow()
        return method

    def test_nothing_is_kept_without_it(self):
        assert self.grown().costs()["buffer_bytes"] == 0

    def test_the_term_written_out(self):
        """mu / 2 times the use of each hidden unit times the squared change of its weights; idle units are free."""
        method, step = configured(Widen(widen_units=4, widen_protect=0.4)), step_of(batch_of(0, 20))
        uses = [
            pair.layer.weight.detach().norm(dim=1) * pair.after.weight.detach().norm(dim=0) for pair in method.pairs
        ]
        method.grow()
        torch.testing.assert_close(method.loss(step), method.losses(step).mean())
        expected = sum(
            float((use / use.max()).sum()) * (pair.layer.in_features + 1) * 0.01
            for pair, use in zip(method.pairs, uses, strict=True)
        )
        with torch.no_grad():
            for pair in method.pairs:
                pair.layer.weight.add_(0.1)
                pair.layer.bias.sub_(0.1)
        assert float(method.deformation().detach()) == pytest.approx(expected, rel=1e-4)
        step = step_of(batch_of(0, 20))
        torch.testing.assert_close(method.loss(step), method.losses(step).mean() + 0.2 * expected, rtol=1e-4, atol=0)
        assert all(not kept["use"][-4:].any() for kept in method.protected), "what is new is idle"

    def test_what_is_learned_moves_less_and_idle_units_are_taken_up(self):
        found = []
        for mu in (0.0, 5.0):
            method = Noting(widen_units=8, widen_protect=mu)
            run(method, nb_tasks=2, passes=6)
            first = method.pairs[0]
            moved = (first.layer.weight.detach() - method.start).norm(dim=1)
            found.append((float(moved[:256].mean()), float(first.after.weight.detach()[:, 256:].norm())))
        (free, _), (protected, taken_up) = found
        assert protected < 0.6 * free
        assert taken_up > 0

    @pytest.mark.parametrize("model", ["simple_cnn", "mlp"])
    def test_use_of_units(self, model):
        method = configured(Widen(model=model, widen_units=3, widen_mode="near_zero", widen_protect=1.0))
        method.grow()
        for pair, kept in zip(method.pairs, method.protected, strict=True):
            assert kept["use"].shape == (pair.n_units,) and float(kept["use"].max()) == 1.0
            assert pair.layer.weight.detach()[-3:].abs().max() < 0.01
            assert not kept["use"][-3:].any() and kept["use"][:-3].all()

    def test_bad_options(self):
        with pytest.raises(InvalidOptionError, match="--widen_protect"):
            Widen(widen_protect=-1.0)


class Noting(Widen):
    """Notes the first layer's weights right after the network has grown."""

    def grow(self) -> None:
        super().grow()
        self.start = self.pairs[0].layer.weight.detach().clone()
