"""A rehearsal buffer as replay memory (Isele & Cosgun, 2018, "Selective Experience Replay for Lifelong Learning")."""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from redwood.buffers import RehearsalBuffer
from redwood.methods.agents.replay_memory import RehearsalMemory
from redwood.methods.agents.replay_part import ReplayPart
from redwood.methods.base import Composition
from redwood.settings.assumptions import TaskIds
from redwood.settings.base import Setting
from redwood.settings.checks import check_choice, check_range
from redwood.settings.errors import InvalidOptionError
from redwood.settings.seeding import derive_seed
from redwood.settings.workers import rank, world_size

# Those that go by neither losses nor features; for classes they are told the tasks.
BUFFER_POLICIES = ("reservoir", "ring")
BUFFER_SAMPLERS = ("uniform", "task_balanced")


@dataclass
class AgentRehearsal(ReplayPart):
    """Learn from a small memory that holds a random subset of all steps so far: what they call distribution matching.

    It is the same memory that `rehearsal` keeps samples of a supervised stream in. Under several workers each keeps an
    equal part of it, filled from its own environments.
    """

    composition: ClassVar[Composition] = Composition.ANYWHERE
    replaces: ClassVar[bool] = True

    buffer_size: int = 5_000  # steps that the memory holds, over all workers
    buffer_policy: str = "reservoir"  # what is kept: reservoir, or ring (as much of each task, the newest)
    buffer_sampler: str = "uniform"  # what is drawn: uniform, or task_balanced (as much of each task)

    def __post_init__(self) -> None:
        """Refuse options that are out of range."""
        super().__post_init__()
        check_range(self, "buffer_size", 1)
        check_choice(self, "buffer_policy", BUFFER_POLICIES)
        check_choice(self, "buffer_sampler", BUFFER_SAMPLERS)

    def configure(self, setting: Setting) -> None:
        """Build the agent with an empty memory.

        Raises:
            InvalidOptionError: If policy or sampler go by task ids, and there are none.
        """
        for option, value, other in (
            ("buffer_policy", self.buffer_policy, BUFFER_POLICIES[0]),
            ("buffer_sampler", self.buffer_sampler, BUFFER_SAMPLERS[0]),
        ):
            if value != other and setting.assumptions.task_ids < TaskIds.TRAINING:
                raise InvalidOptionError(
                    f"--{option} {value} needs task ids, which {type(setting).__name__} does not give; choose {other}."
                )
        if self.buffer_size < world_size():
            raise InvalidOptionError(f"--buffer_size {self.buffer_size} has to be at least --workers {world_size()}.")
        super().configure(setting)

    def algorithm_options(self) -> dict[str, Any]:
        """The options, with this worker's part of the memory."""
        share, rest = divmod(self.buffer_size, world_size())
        return super().algorithm_options() | {"buffer_size": share + (rank() < rest)}

    def replay_buffer_options(self) -> dict[str, Any]:
        """The memory, and what makes its buffer."""
        seed = derive_seed(self.setting.seed, "buffer", rank())
        make = partial(_make_buffer, policy=self.buffer_policy, sampler=self.buffer_sampler, seed=seed)
        return super().replay_buffer_options() | {
            "replay_buffer_class": RehearsalMemory,
            "replay_buffer_kwargs": {"make": make},
        }

    def memory_state(self) -> dict[str, Any]:
        """What the buffer holds, and what its next decisions and draws depend on."""
        return self._memory.state_dict()

    def load_memory(self, state: dict[str, Any]) -> None:
        """Go on from an earlier `memory_state`."""
        self._memory.load_state_dict(state)

    def memory_bytes(self) -> int:
        """Bytes of the buffer."""
        return self._memory.nbytes

    @property
    def _memory(self) -> RehearsalMemory:
        memory: RehearsalMemory = self.algorithm.replay_buffer
        return memory


def _make_buffer(capacity: int, *, policy: str, sampler: str, seed: int) -> RehearsalBuffer:
    return RehearsalBuffer(capacity, policy=policy, sampler=sampler, seed=seed)
