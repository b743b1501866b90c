from copy import deepcopy
from dataclasses import dataclass

import pytest
import torch
from torch.nn import functional as F

from redwood.core.errors import InvalidOptionError
from redwood.methods.replay.mir import MIR
from redwood.methods.training.schedules import DecayingRate
from tests.methods.helpers import augmented, batch_of, configured, filled
from tests.small_runs import NormalisedNetwork, run_here, small_setting


def rises(method, batch):
    """How much a step on `batch` would raise the loss of each stored sample, by brute force."""
    network, rows = deepcopy(method.network).eval(), method.buffer.all()

    def losses():
        with torch.no_grad():
            return F.cross_entropy(network(rows["x"]), rows["y"], reduction="none")

    before = losses()
    optimizer = torch.optim.SGD(network.parameters(), method.phase_lr)
    F.cross_entropy(network(batch.x), batch.y).backward()
    optimizer.step()
    return losses() - before


@dataclass
class Watched(MIR):
    """Notes how the chosen rows compare with all others, and which candidates there were."""

    def configure(self, setting):
        super().configure(setting)
        self.gaps, self.candidates = [], []
        interference = self.replay._interference

        def noting(incoming, rows):
            self.candidates.append(len(rows["y"]))
            return interference(incoming, rows)

        self.replay._interference = noting

    def augment(self, step):
        expected = rises(self, step.incoming) if len(self.buffer) else torch.zeros(0)
        state = deepcopy(self.network.state_dict())
        super().augment(step)
        for name, value in self.network.state_dict().items():
            assert torch.equal(value, state[name]), name
        if step.replayed is None:
            return
        slots, left = step.replayed.slots, torch.ones(len(expected), dtype=torch.bool)
        left[slots] = False
        if left.any():
            self.gaps.append(float(expected[slots].min() - expected[left].max()))


def watch(**options):
    method = Watched(buffer_size=40, replay_ratio=0.5, lr=0.1, **options)
    run_here(small_setting("class_incremental"), method)
    return method


def test_all_that_is_replayed_is_hurt_more_than_all_that_is_not():
    """As long as all stored rows are candidates."""
    method = watch()
    assert min(method.gaps) > -1e-5
    assert max(method.gaps) > 1e-4
    assert len(method.gaps) > 15
    assert max(method.candidates) == 40


def test_the_step_that_is_looked_at_is_one_of_the_phase():
    """With the learning rate that `lr_decay` has left of the first one."""
    method = filled(configured(MIR(buffer_size=20, lr=0.1, regime=DecayingRate(0.2))))
    batch, rows = batch_of(40, 50), method.buffer.all()
    found = []
    for method.phase_count in (0, 2):
        found.append(method.replay._interference(batch, rows))
        torch.testing.assert_close(found[-1], rises(method, batch), atol=1e-5, rtol=1e-3)
    assert float(found[0].abs().max()) > 5 * float(found[1].abs().max())


def test_statistics_of_normalisation_stay_as_they_are():
    """`Watched.augment` looks at the whole state of the network."""
    torch.manual_seed(0)
    assert len(watch(model=NormalisedNetwork()).gaps) > 15


def test_only_as_many_candidates_are_scored_as_were_asked_for():
    method = watch(buffer_sampler={"mir": {"mir_candidates": 18}})
    assert method.candidates[0] == 16  # all there were
    assert set(method.candidates[1:]) == {18}
    assert min(method.gaps) < -1e-3  # rows that were no candidates are hurt more


def test_other_samplers_are_an_option():
    method = filled(configured(MIR(buffer_size=20, buffer_sampler="uniform")))
    assert len(augmented(method, batch_of(40, 50)).batch.y) == 20


def test_options_out_of_range():
    with pytest.raises(InvalidOptionError, match="candidates has to be at least 1, got 0"):
        MIR(buffer_sampler={"mir": {"mir_candidates": 0}})


class Rates(MIR):
    """Notes the rate of each virtual step, and of the step that follows."""

    def augment(self, step):
        self.noted = [*getattr(self, "noted", []), self.step_lr]
        super().augment(step)

    def before_optimizer_step(self):
        super().before_optimizer_step()
        self.taken = [*getattr(self, "taken", []), self.module.trainer.optimizers[0].param_groups[0]["lr"]]


def test_the_virtual_step_has_the_rate_of_the_schedule():
    method = Rates(buffer_size=20, lr=0.1, lr_schedule="cosine")
    run_here(small_setting("class_incremental"), method)
    assert method.noted == method.taken
    assert min(method.noted) < 0.05 < max(method.noted) <= 0.1
