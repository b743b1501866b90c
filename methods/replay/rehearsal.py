"""Experience replay (Chaudhry et al., 2019, "On Tiny Episodic Memories in Continual Learning")."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from typing_extensions import override

from redwood.buffers import RehearsalBuffer
from redwood.core.state import State
from redwood.methods.base import Composition
from redwood.methods.lightning import LightningMethod
from redwood.methods.replay.options import ReplayOptions
from redwood.methods.replay.shared_replay import make_replay
from redwood.methods.training.step import Replayed, Rows, Step
from redwood.settings.supervised import SupervisedSetting
from redwood.settings.tree import ContinualSetting

if TYPE_CHECKING:
    from pytorch_lightning.strategies import Strategy


@dataclass
class Rehearsal(ReplayOptions, LightningMethod):
    """Train on each mini-batch together with stored earlier samples.

    Algorithm 1 of Chaudhry et al. (2019), "On Tiny Episodic Memories in Continual Learning". The inherited loss is the
    mean over incoming and replayed samples. Incoming samples are offered to the buffer in the first pass of each phase.
    So the stored samples do not depend on the number of passes.
    """

    target = ContinualSetting
    composition: ClassVar[Composition] = Composition.ANYWHERE
    regression: ClassVar[bool] = True
    multi_label: ClassVar[bool] = True
    adds_repeats: ClassVar[bool] = False  # whether samples are offered to the buffer in later passes, too
    stores_outputs: ClassVar[bool] = False  # whether `further_leaves` needs the forward pass
    draws: ClassVar[int] = 1  # calls of `replay.draw` per step, numbered from 0: one or two

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_replay_options()

    @override
    def configure(self, setting: SupervisedSetting) -> None:
        super().configure(setting)
        self.replay = self.add_state("replay", make_replay(self, setting, options=self, draws=self.draws), buffer=True)

    @property
    def buffer(self) -> RehearsalBuffer:
        """The samples that this worker stores."""
        return self.replay.buffer

    @override
    def augment(self, step: Step) -> None:
        super().augment(step)
        step.replayed = self.draw(step)
        self.join(step)

    def draw(self, step: Step) -> Replayed | None:
        """Stored samples for a step, those of all its draws; None if there are none."""
        found = [self.replay.draw(step, number) for number in range(self.draws)]
        draws = [draw for draw in found if draw is not None]
        return Replayed.of_draws(draws) if draws else None

    def join(self, step: Step) -> None:
        """Train on the replayed samples behind the incoming ones."""
        if step.replayed is not None:
            step.replayed_rows = step.join(step.replayed)

    @override
    def after_loss(self, step: Step) -> None:
        super().after_loss(step)
        self.replay.rate(step)
        if not self.asynchronous and self.should_add(step):  # with --async, the strategy adds them
            self.add(step)

    def should_add(self, step: Step) -> bool:
        """True if the incoming samples are offered to the buffer."""
        return step.first_pass or self.adds_repeats

    def add(self, step: Step) -> None:
        """Offer the incoming samples to the buffer."""
        self.replay.add(step, self.further_leaves(step))

    def further_leaves(self, step: Step) -> Rows:
        """Further leaves (b, ...) to store with the incoming samples, such as the network's outputs."""
        return {}

    @override
    def grow_state(self, saved: State, smaller: Any) -> State:
        state = super().grow_state(saved, smaller)
        further = self.n_outputs - smaller.n_outputs
        rows = state["replay"].get("rows") or state["replay"].get("buffer", {}).get("rows") or {}
        if further and "logits" in rows:
            # Stored outputs are without the new classes: these count as no more likely than the least likely one.
            stored = rows["logits"]
            rows["logits"] = torch.cat([stored, stored.amin(1, keepdim=True).expand(-1, further)], dim=1)
        return state

    @override
    def state_for_other_workers(self, states: list[State]) -> State:
        if not self.asynchronous:
            return super().state_for_other_workers(states)
        return states[0] | {"replay": self.replay.state_for_other_workers([state["replay"] for state in states])}

    @override
    def strategy(self) -> "Strategy | str":
        return self.replay.strategy(self) or super().strategy()

    @override
    def never_acted(self) -> str | None:
        if self.replay.never_drew():
            return f"Nothing was ever replayed, with --replay_ratio {self.replay_ratio}."
        return super().never_acted()

    @override
    def inside_state(self) -> State:
        """With `--async`, the strategy saves the buffer beside Lightning's checkpoint."""
        with self.replay.saved_by_strategy():
            return super().inside_state()

    @override
    def costs(self) -> State:
        rehearsal = self.replay.costs()
        return super().costs() | ({"rehearsal": rehearsal} if rehearsal else {})
