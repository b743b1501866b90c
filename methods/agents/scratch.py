"""A new agent for each task, as the reference for other methods."""

from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from redwood.core.seeding import preserved_random_state, seed_everything
from redwood.methods.agents.agent import Agent
from redwood.methods.base import Composition
from redwood.settings.rl.tree import IncrementalRLSetting


@dataclass
class AgentScratch(Agent):
    """Start each task with new weights and optimizers, and with an empty memory.

    Its return on a task right after training is 1 on the scale of normalised returns, and forward transfer is measured
    against its training curve (M. Wolczyk et al., Continual World, NeurIPS 2021, section 4.2).
    """

    target = IncrementalRLSetting
    without_second_phase: ClassVar[str] = "No new agent was made"
    composition: ClassVar[Composition] = Composition.ANYWHERE

    @override
    def on_task_start(self, task_id: int | None) -> None:
        """Build the task's agent; its weights are drawn as in a run with another seed."""
        super().on_task_start(task_id)
        if self.phase_count:
            flops, phase_count = self.flops.state_dict(), self.phase_count
            with preserved_random_state():
                seed_everything(self.setting.seed, "new weights", phase_count)
                self.attach(self.run)
                self.configure(self.setting)
            self.flops.load_state_dict(flops)
            self.phase_count = phase_count
