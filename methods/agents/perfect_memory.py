"""A replay memory that nothing is dropped from (Wolczyk et al., 2021, "Continual World", perfect memory)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from stable_baselines3.common.buffers import ReplayBuffer

from redwood.methods.agents.replay_part import ReplayPart
from redwood.methods.base import Composition

LEAVES = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


class GrowingMemory(ReplayBuffer):
    """A replay memory that becomes twice as large once it is full, instead of dropping its oldest steps.

    So it need not be known how many are to come, which settings without boundaries do not say.
    """

    def add(self, *args: Any) -> None:
        """Take in one step of each environment."""
        super().add(*args)
        if self.full:
            self.make_room(2 * self.buffer_size)

    def make_room(self, size: int) -> None:
        """Have room for `size` steps of each environment, which are more than there are now."""
        stored = self.size()
        for name in LEAVES:
            old = getattr(self, name)
            new = np.zeros((size, *old.shape[1:]), old.dtype)
            new[:stored] = old[:stored]
            setattr(self, name, new)
        self.buffer_size, self.pos, self.full = size, stored, False


@dataclass
class AgentPerfectMemory(ReplayPart):
    """Keep every step of the run in the replay memory, and learn from all of them alike.

    The option `buffer_size` says what there is room for at first.
    """

    composition: ClassVar[Composition] = Composition.ANYWHERE
    replaces: ClassVar[bool] = True

    def replay_buffer_options(self) -> dict[str, Any]:
        """A memory that grows."""
        return super().replay_buffer_options() | {"replay_buffer_class": GrowingMemory}

    def load_memory(self, state: dict[str, Any]) -> None:
        """Go on with what was held, for which there may not be room yet."""
        memory: GrowingMemory = self.algorithm.replay_buffer
        if state["pos"] >= memory.buffer_size:
            memory.make_room(2 * state["pos"])
        super().load_memory(state)
