"""A replay memory that is emptied when a task begins (Wolczyk et al., 2021, "Continual World", fine-tuning)."""

from dataclasses import dataclass
from typing import ClassVar

from redwood.methods.agents.replay_part import ReplayPart
from redwood.methods.base import Composition
from redwood.settings.rl.incremental import IncrementalRLSetting


@dataclass
class AgentResetBuffer(ReplayPart):
    """Learn each task from its own steps alone: those of the task before are forgotten."""

    target = IncrementalRLSetting
    composition: ClassVar[Composition] = Composition.ANYWHERE

    def on_task_start(self, task_id: int | None) -> None:
        """Empty the replay memory."""
        super().on_task_start(task_id)
        self.algorithm.replay_buffer.reset()
