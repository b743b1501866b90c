"""Guessing: the floor that every method has to beat."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from redwood.methods.base import Method
from redwood.settings.base import Setting
from redwood.settings.phase import Phase
from redwood.settings.rl.actions import random_actions
from redwood.settings.rl.phase import ReinforcementPhase


@dataclass
class Random(Method):
    """Draw a class, an action, or numbers of the range of the targets, at random, whatever the observation."""

    target = Setting
    regression: ClassVar[bool] = True

    def configure(self, setting: Setting) -> None:
        """Learn what there is to choose from."""
        self._space = setting.action_space

    def fit(self, phase: Phase | ReinforcementPhase) -> None:
        """Learn nothing, but guess each sample once, or act, so that the online accuracy or return is known."""
        if isinstance(phase, ReinforcementPhase):
            phase.play(self.predict)
            self.run.global_step += phase.steps
            return
        for _ in range(phase.train.epochs):
            for batch in phase.train:
                phase.score(self.predict(batch.x, batch.task_id), batch)

    def predict(self, x: Tensor, task_id: Tensor | None) -> Tensor:
        """Return random classes (B,), each of the K classes alike likely; numbers (B,) or (B, d), uniform in range."""
        return random_actions(self._space, len(x), torch.default_generator)
