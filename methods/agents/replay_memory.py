"""What parts of agents have in common that need a replay memory."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from stable_baselines3.common.buffers import ReplayBuffer

from redwood.core.errors import InvalidOptionError
from redwood.methods.agents.off_policy import OffPolicyAgent
from redwood.methods.agents.on_policy import OnPolicyAgent
from redwood.methods.base import Composition, Method
from redwood.settings.rl.tree import IncrementalRLSetting


@dataclass
class ReplayPart(OffPolicyAgent):
    """A part that changes the replay memory of the agent that it is joined to.

    Set in a subclass:
        replaces: Whether it has a memory of its own, in the place of the library's.
    """

    replaces: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        """Refuse to be joined to an agent without a replay memory, or to another memory."""
        super().__init_subclass__(**options)
        reference = "+".join(base.reference() for base in cls.__bases__ if issubclass(base, Method))
        if issubclass(cls, OnPolicyAgent):
            raise InvalidOptionError(
                f"The method {reference} cannot be made: an agent that learns from what it has just done has no "
                "replay memory; choose dqn, sac or td3."
            )
        memories = [base for base in cls.__mro__ if issubclass(base, ReplayPart) and vars(base).get("replaces")]
        if len(memories) > 1:
            names = " and ".join(base.reference() for base in memories)
            raise InvalidOptionError(
                f"The method {reference} cannot be made: {names} each are a replay memory, and there is one; "
                "leave one of them out."
            )

    def algorithm_options(self) -> dict[str, Any]:
        """The options; of those that only the library's own memory knows, no other value than the default."""
        n_steps = getattr(self, "n_steps", 1)
        if self.replaces and n_steps != 1:
            raise InvalidOptionError(
                f"--n_steps {n_steps} needs the library's own replay memory, which {self.reference()} replaces; "
                "leave it out."
            )
        return super().algorithm_options()


@dataclass
class AgentResetBuffer(ReplayPart):
    """Learn each task from its own steps alone: those of the task before are forgotten."""

    target = IncrementalRLSetting
    composition: ClassVar[Composition] = Composition.ANYWHERE

    def on_task_start(self, task_id: int | None) -> None:
        """Empty the replay memory."""
        super().on_task_start(task_id)
        self.algorithm.replay_buffer.reset()


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
