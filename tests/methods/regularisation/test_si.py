from dataclasses import dataclass
from itertools import islice

import pytest
import torch
from torch.nn import functional as F

from redwood.core.errors import InvalidOptionError
from redwood.methods.regularisation.si import SI
from redwood.settings.batch import Batch
from tests.methods.helpers import configured, move, step_of, weights_of
from tests.methods.regularisation.linear import Linear
from tests.samples import few_digits
from tests.small_runs import run_here, small_setting

NO_STEP = step_of(Batch(torch.zeros(0), torch.zeros(0), None))


@dataclass
class Quadratic(SI):
    """Squared loss; notes the path and the loss, with and without the penalty, where a task begins and ends."""

    def configure(self, setting):
        super().configure(setting)
        self.notes = []

    def losses(self, step):
        return (self.outputs(step) - F.one_hot(step.batch.y, 10)).square().sum(1)

    def fit(self, phase):
        ends = []
        for train in (lambda: None, lambda: super(Quadratic, self).fit(phase)):
            train()
            with torch.no_grad():
                ends.append((float(self.losses(step_of(self.everything(phase))).mean()), float(self.penalty())))
        self.notes.append((float(sum(part.sum() for part in self.measure.path.values())), *ends))

    def everything(self, phase):
        """All samples of the phase, read from another one like it."""
        shown = list(next(islice(self.stream.phases(), phase.index, None)).train)
        return Batch(*map(torch.cat, zip(*shown, strict=True)))


class TestPath:
    """With steps so small that the loss is nearly linear in each, the parts of the weights add up to its drop."""

    @pytest.fixture(scope="class")
    @classmethod
    def notes(cls):
        method = Quadratic(model=Linear(), lr=0.001, si_c=50000.0, importance_scale="none")
        setting = small_setting("domain_incremental", nb_tasks=2, stream="permuted", batch_size=160, passes=40)
        method.stream = setting
        run_here(setting, method)
        return method.notes

    @pytest.mark.parametrize("task", [0, 1])
    def test_it_adds_up_to_the_drop_of_the_loss(self, notes, task):
        total, (before, _), (after, _) = notes[task]
        assert before - after > 0.1
        assert total == pytest.approx(before - after, rel=0.02)

    def test_of_the_loss_without_the_penalty(self, notes):
        _, (before, _), (after, penalty) = notes[1]
        assert penalty > 0.05 * (before - after), "else the figures above would not tell"


class TestSteps:
    def test_a_step_that_is_left_out_adds_nothing(self):
        method = configured(SI())
        for parameter in method.network.parameters():
            parameter.grad = torch.full_like(parameter, torch.inf)
        method.before_optimizer_step()
        method.on_batch_end(NO_STEP, torch.tensor(0.0), 0)
        assert not any(bool(part.any()) for part in method.measure.path.values())

    def test_a_batch_without_a_step_adds_nothing(self):
        method = configured(SI())
        move(method)
        method.on_batch_end(NO_STEP, torch.tensor(0.0), 0)
        assert not any(bool(part.any()) for part in method.measure.path.values())

    def test_gradient_times_movement(self):
        method = configured(SI())
        before = weights_of(method)
        for parameter in method.network.parameters():
            parameter.grad = torch.full_like(parameter, 3.0)
        method.before_optimizer_step()
        move(method)
        method.on_batch_end(NO_STEP, torch.tensor(0.0), 0)
        for part, weight, old in zip(method.measure.path.values(), weights_of(method), before, strict=True):
            torch.testing.assert_close(part, -3 * (weight - old))


def test_importance():
    """Equation 5, but for weights whose moves raised the loss."""
    method = configured(SI(si_xi=0.5, importance_scale="none"))
    before = weights_of(method)
    for sign in (1, -1):
        move(method)
        method.measure.path = {name: sign * torch.rand_like(p) for name, p in method.trained_weights()}
        path = dict(method.measure.path)
        moved = [new - old for new, old in zip(weights_of(method), before, strict=True)]
        held = dict(method.curvature)
        method.on_task_end(0)
        for (name, part), way in zip(path.items(), moved, strict=True):
            expected = part / (way.square() + 0.5) if sign > 0 else 0 * part
            torch.testing.assert_close(method.curvature[name] - held[name], expected)
        assert not any(bool(part.any()) for part in method.measure.path.values()), "each task has a path of its own"
        before = weights_of(method)
        assert all(map(torch.equal, method.minimum.values(), before))


def test_penalty():
    """Equation 4, which has no factor of 1/2."""
    method = configured(SI(si_c=0.7))
    method.move_penalty({name: torch.full_like(p, 2.0) for name, p in method.trained_weights()})
    anchor = weights_of(method)
    move(method)
    distance = sum((new - old).square().sum() for new, old in zip(weights_of(method), anchor, strict=True))
    torch.testing.assert_close(method.penalty().detach(), 0.7 * 2 * distance)


def test_weights_that_are_not_trained_are_left_out():
    network = Linear()
    network[1].bias.requires_grad_(False)
    method = SI(model=network)
    run_here(small_setting("online_class_incremental", dataset=few_digits(60, 40)), method)
    assert list(method.curvature) == ["1.weight"]
    assert method.costs()["buffer_bytes"] == 3 * 4 * 640


@pytest.mark.parametrize("options", [{"si_c": -1.0}, {"si_xi": 0.0}])
def test_options_out_of_range(options):
    with pytest.raises(InvalidOptionError, match="has to be at least"):
        SI(**options)
