"""Parts that change the replay memory of an off-policy agent."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from typing_extensions import override

from redwood.buffers import RehearsalBuffer
from redwood.core.checks import check_choice, check_range
from redwood.core.errors import InvalidOptionError
from redwood.core.seeding import derive_seed
from redwood.core.workers import rank, world_size
from redwood.methods.agents.memories import GrowingMemory, RehearsalMemory
from redwood.methods.agents.off_policy import OffPolicyAgent, joined_reference
from redwood.methods.agents.on_policy import OnPolicyAgent
from redwood.methods.base import Composition
from redwood.settings.assumptions import TaskIds
from redwood.settings.rl.tree import ContinualRLSetting, IncrementalRLSetting


@dataclass
class ReplayPart(OffPolicyAgent):
    """A part that changes the replay memory of the agent that it is joined to.

    Set in a subclass:
        replaces: Whether the part brings a memory of its own, instead of the library's.
    """

    replaces: ClassVar[bool] = False

    def __init_subclass__(cls, **options: object) -> None:
        """Refuse to be joined to an agent without a replay memory, or to a second memory."""
        super().__init_subclass__(**options)
        if issubclass(cls, OnPolicyAgent):
            raise InvalidOptionError(
                f"The method {joined_reference(cls)} cannot be made: an on-policy agent has no replay memory; "
                "choose dqn, sac or td3."
            )
        memories = [base for base in cls.__mro__ if issubclass(base, ReplayPart) and vars(base).get("replaces")]
        if len(memories) > 1:
            names = " and ".join(base.reference() for base in memories)
            raise InvalidOptionError(
                f"The method {joined_reference(cls)} cannot be made: {names} each are a replay memory, and "
                "there is one; leave one of them out."
            )

    @override
    def algorithm_options(self) -> dict[str, object]:
        """Return the arguments of the library's class.

        Raises:
            InvalidOptionError: If an option needs the library's own memory, which this part replaces.
        """
        n_steps = getattr(self, "n_steps", 1)
        if self.replaces and n_steps != 1:
            raise InvalidOptionError(
                f"--n_steps {n_steps} needs the library's own replay memory, which {self.reference()} replaces; "
                "leave it out."
            )
        if self.replaces and self.task_shares == "equal":
            raise InvalidOptionError(
                f"--task_shares equal needs the library's own replay memory, which {self.reference()} replaces; "
                "leave it out."
            )
        return super().algorithm_options()


@dataclass
class AgentResetBuffer(ReplayPart):
    """Empty the replay memory when a task starts, so that each task is learned from its own steps alone."""

    target = IncrementalRLSetting
    without_second_phase: ClassVar[str] = "The replay memory was never emptied"
    composition: ClassVar[Composition] = Composition.ANYWHERE

    @override
    def on_task_start(self, task_id: int | None) -> None:
        super().on_task_start(task_id)
        self.algorithm.replay_buffer.reset()


@dataclass
class AgentPerfectMemory(ReplayPart):
    """Keep every step of the run in the replay memory, and draw each with the same probability.

    The memory has room for `buffer_size` steps at first, and grows.
    """

    composition: ClassVar[Composition] = Composition.ANYWHERE
    replaces: ClassVar[bool] = True

    @override
    def replay_buffer_options(self) -> dict[str, object]:
        return super().replay_buffer_options() | {"replay_buffer_class": GrowingMemory}


# Policies and samplers that need neither losses nor features. All but the first of each need task ids.
BUFFER_POLICIES = ("reservoir", "ring")
BUFFER_SAMPLERS = ("uniform", "task_balanced")


@dataclass
class AgentRehearsal(ReplayPart):
    """Learn from a small memory that holds a random subset of all steps so far.

    It is "distribution matching" of D. Isele and A. Cosgun, Selective Experience Replay for Lifelong Learning,
    AAAI 2018. The memory is the buffer of the method `rehearsal`. Each worker keeps an equal part of it, and fills it
    from its own environments.
    """

    composition: ClassVar[Composition] = Composition.ANYWHERE
    replaces: ClassVar[bool] = True

    buffer_size: int = 5_000  # steps that the memory holds, over all workers
    buffer_policy: str = "reservoir"  # steps to keep: reservoir, or ring (the newest, equally many of each task)
    buffer_sampler: str = "uniform"  # steps to draw: uniform, or task_balanced (equally many of each task)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "buffer_size", 1)
        check_choice(self, "buffer_policy", BUFFER_POLICIES)
        check_choice(self, "buffer_sampler", BUFFER_SAMPLERS)

    @override
    def configure(self, setting: ContinualRLSetting) -> None:
        """Build the agent with an empty memory.

        Raises:
            InvalidOptionError: If policy or sampler need task ids, and the setting gives none.
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

    @override
    def algorithm_options(self) -> dict[str, object]:
        share, rest = divmod(self.buffer_size, world_size())
        return super().algorithm_options() | {"buffer_size": share + (rank() < rest)}

    @override
    def replay_buffer_options(self) -> dict[str, object]:
        seed = derive_seed(self.setting.seed, "buffer", rank())
        make = partial(_make_buffer, policy=self.buffer_policy, sampler=self.buffer_sampler, seed=seed)
        return super().replay_buffer_options() | {
            "replay_buffer_class": RehearsalMemory,
            "replay_buffer_kwargs": {"make": make},
        }


def _make_buffer(capacity: int, *, policy: str, sampler: str, seed: int) -> RehearsalBuffer:
    return RehearsalBuffer(capacity, policy=policy, sampler=sampler, seed=seed)
