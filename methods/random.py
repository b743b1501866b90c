"""Guessing: the floor that every method has to beat."""

from dataclasses import dataclass

import torch
from torch import Tensor

from redwood.methods.base import Method
from redwood.settings.base import Setting
from redwood.settings.phase import Phase


@dataclass
class Random(Method):
    """Draw an action at random, whatever the observation."""

    target = Setting

    def configure(self, setting: Setting) -> None:
        """Learn how many actions there are to choose from."""
        self._n_classes = int(setting.action_space.n)  # type: ignore[attr-defined]

    def fit(self, phase: Phase) -> None:
        """Learn nothing, but guess each sample once, so that the online accuracy of guessing is known."""
        for _ in range(phase.train.epochs):
            for batch in phase.train:
                phase.score(self.predict(batch.x, batch.task_id), batch.y)

    def predict(self, x: Tensor, task_id: Tensor | None) -> Tensor:
        """Return random classes (B,), each of the K classes alike likely."""
        return torch.randint(self._n_classes, (len(x),))
