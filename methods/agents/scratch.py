"""A new agent for each task: the single-task reference of the others (Wolczyk et al., 2021, section on metrics)."""

from dataclasses import dataclass
from typing import ClassVar

from redwood.core.seeding import preserved_random_state, seed_everything
from redwood.methods.agents.agent import Agent
from redwood.methods.base import Composition
from redwood.settings.rl.tree import IncrementalRLSetting


@dataclass
class AgentScratch(Agent):
    """Start each task with new weights and optimizers, and with an empty memory.

    What it scores on a task right after training on it is what normalised scores call 1, and what forward transfer is
    measured against.
    """

    target = IncrementalRLSetting
    composition: ClassVar[Composition] = Composition.ANYWHERE

    def on_task_start(self, task_id: int | None) -> None:
        """Build the task's agent, whose weights are those that a run with another seed might have started from."""
        super().on_task_start(task_id)
        if self.phase_count:
            counts, phase_count = self.flops.counts(), self.phase_count
            with preserved_random_state():
                seed_everything(self.setting.seed, "new weights", phase_count)
                self.attach(self.run)
                self.configure(self.setting)
            self.flops.load_counts(counts)
            self.phase_count = phase_count
