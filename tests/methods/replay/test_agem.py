from dataclasses import dataclass

import pytest
import torch
from torch.nn import functional as F

from redwood.core.workers import sum_over_workers, world_size
from redwood.methods.baselines import Finetune
from redwood.methods.replay.agem import AGEM, project
from tests.methods.helpers import augmented, batch_of, configured, filled, refused, weights_of
from tests.small_runs import run_here, small_setting


def pair(seed, n=50):
    """A gradient and a reference at an obtuse angle."""
    gradient, reference = torch.randn(2, n, generator=torch.Generator().manual_seed(seed))
    return gradient, reference if float(gradient @ reference) < 0 else -reference


class TestProject:
    @pytest.mark.parametrize("seed", range(5))
    def test_it_is_equation_11(self, seed):
        gradient, reference = pair(seed)
        expected = gradient - (gradient @ reference) / (reference @ reference) * reference
        projected = project(gradient, reference)
        torch.testing.assert_close(projected, expected)
        assert abs(float(projected @ reference)) < 1e-5
        assert float((projected - gradient).norm()) > 1e-3

    @pytest.mark.parametrize("seed", range(5))
    def test_no_gradient_that_does_no_harm_is_nearer(self, seed):
        gradient, reference = pair(seed)
        distance = (project(gradient, reference) - gradient).norm()
        others = project(gradient, reference) + 0.1 * torch.randn(2000, 50)
        harmless = others[others @ reference >= 0]
        assert len(harmless) > 500
        assert bool(((harmless - gradient).norm(dim=1) >= distance - 1e-5).all())

    @pytest.mark.parametrize("seed", range(5))
    def test_one_that_agrees_stays_as_it_is(self, seed):
        gradient, reference = pair(seed)
        assert torch.equal(project(gradient, -reference), gradient)

    def test_no_reference(self):
        gradient, _ = pair(0)
        assert torch.equal(project(gradient, torch.zeros(50)), gradient)


@dataclass
class Watched(AGEM):
    """Notes the gradients before and after, and what they are compared with, over all workers."""

    def configure(self, setting):
        super().configure(setting)
        self.before, self.after, self.references = [], [], []

    def gradient(self):
        return torch.cat([p.grad.flatten() for p in self.network.parameters()])

    def after_backward(self, step):
        self.before.append(self.gradient())
        super().after_backward(step)
        self.after.append(self.gradient())

    def loss(self, step):
        parts = [torch.zeros_like(p) for p in self.network.parameters()]
        if step.replayed is not None:
            rows = step.replayed.rows
            loss = F.cross_entropy(self.network(rows["x"]), rows["y"])
            parts = torch.autograd.grad(loss, list(self.network.parameters()))
        mine = torch.cat([part.flatten() for part in parts])
        self.references.append(sum_over_workers(mine) / world_size())
        return super().loss(step)


def watch(workers=1, **options):
    method = Watched(**{"buffer_size": 30, "lr": 0.1} | options)
    run_here(small_setting("class_incremental", workers=workers, batch_size=8), method)
    return method.before, method.after, method.references, weights_of(method)


def check(before, after, reference):
    """Each step is projected if and only if it would harm; how many were."""
    harmed = 0
    for old, new, other in zip(before, after, reference, strict=True):
        size = float(old.norm() * other.norm())
        assert float(new @ other) >= -1e-5 * size
        if float(old @ other) >= 1e-6 * size:
            assert torch.equal(new, old)
        elif float(old @ other) < -1e-3 * size:
            torch.testing.assert_close(new, old - (old @ other) / (other @ other) * other, rtol=1e-4, atol=1e-6)
            harmed += 1
    return harmed


class TestInARun:
    def test_no_step_goes_against_the_reference(self):
        before, after, reference, _ = watch()
        harmed = check(before, after, reference)
        assert 5 < harmed < len(before) - 5

    def test_what_it_trains_on_is_what_came_in(self):
        method, batch = filled(configured(AGEM(buffer_size=20))), batch_of(40, 56)
        step = augmented(method, batch)
        assert step.batch is batch
        assert len(step.replayed) == 16
        torch.testing.assert_close(method.loss(step), F.cross_entropy(method.network(batch.x), batch.y))

    def test_without_replay_it_is_fine_tuning(self):
        setting, plain, method = small_setting("class_incremental"), Finetune(), AGEM(replay_ratio=0)
        for one in (plain, method):
            run_here(setting, one)
        assert all(map(torch.equal, weights_of(plain), weights_of(method)))


def watch_two(options):
    return watch(workers=2, **options)


class TestTwoWorkers:
    def test_they_project_on_the_mean_reference_and_stay_together(self, two_workers):
        first, second = two_workers.run(watch_two, {})
        for mine, others in zip(first, second, strict=True):
            assert all(map(torch.equal, mine, others))
        before, after, reference, _ = first
        assert 3 < check(before, after, reference) < len(before)

    def test_one_that_has_nothing_to_replay_keeps_the_other_waiting_no_longer(self, two_workers):
        """With room for one sample each, it is chance who still has one of an earlier task."""
        first, second = two_workers.run(watch_two, {"buffer_size": 2, "buffer_sampler": "old_tasks"})
        assert all(map(torch.equal, first[3], second[3]))
        check(*first[:3])


def test_a_join_that_would_change_nothing_is_refused():
    class Weighted(AGEM):
        def join(self, step):
            super().join(step)
            step.weights = torch.ones(len(step.batch.y))

    with refused("Weighted.join changes nothing, as agem trains on no replayed sample; override reference_loss"):
        configured(Weighted())
