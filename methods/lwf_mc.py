"""LwF.MC, learning without forgetting for many classes (Rebuffi et al., 2017, section 4.2)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from redwood.methods.base import Composition
from redwood.methods.distillation.distilling import Distilling
from redwood.methods.distillation.losses import sigmoid_distillation
from redwood.settings.base import Setting
from redwood.settings.batch import Batch
from redwood.settings.phase import Phase


@dataclass
class LwFMC(Distilling):
    """Train as iCaRL does, by one sigmoid for each class, but without exemplars; the highest output counts.

    Classes that come again are learned from their labels, not from the teacher: where all tasks share their outputs
    nothing is left to distil.
    """

    composition: ClassVar[Composition] = Composition.LAST

    def configure(self, setting: Setting) -> None:
        """Build the network."""
        super().configure(setting)
        self._seen = torch.ones_like(self.current).to(self.device)  # nothing is known to be out of the question yet

    def fit(self, phase: Phase) -> None:
        """Train the network on a task."""
        known, current = self.teacher.known, self.classes_of(phase)
        self._taught = (known & ~current).to(self.device)
        self._seen = (known | current).to(self.device)
        super().fit(phase)

    def loss(self, batch: Batch) -> Tensor:
        """Binary cross-entropy summed over the classes seen so far, for old ones with the teacher's answers."""
        outputs = self.network(batch.x)
        answers = None if self.teacher.network is None else self.teacher(batch.x)
        return sigmoid_distillation(outputs, batch.y, answers, self._taught, self._seen)

    @torch.no_grad()
    def predict(self, x: Tensor, task_id: Tensor | None) -> Tensor:
        """Scores (B, K) of the network, for the classes so far.

        The loss does not reach the outputs of other classes, which would outweigh those that were taught to say no.
        """
        return super().predict(x, task_id).masked_fill(~self._seen, -torch.inf)

    def state_dict(self) -> dict[str, Any]:
        """The network's state, the teacher's, and the classes seen so far."""
        return super().state_dict() | {"seen": self._seen.cpu()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        super().load_state_dict(state)
        self._seen = state["seen"].to(self.device)
