"""The base of samplers: a sampler decides which stored rows form a draw."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Self

from torch import Tensor
from typing_extensions import override

from redwood.buffers.component import Component
from redwood.buffers.randomness import CounterRandom, StepRandom
from redwood.buffers.samplers.counts import Draws, GroupCounts
from redwood.buffers.samplers.exchange_plan import ExchangePlan, exchange_plan
from redwood.buffers.slot_groups import Groups
from redwood.core.state import State

# Maps slots (n,) to a score of each row stored there (n,).
Rate = Callable[[Tensor], Tensor]


class Sampler(Component, ABC):
    """Draws distinct rows; the draw of a step follows from the seed and the number of the step.

    Set in a subclass:
        needs: Names of what it needs: `labels`, `tasks` and `features` of the stored rows, a `rate` with each draw.
        shared: Whether it can draw from the buffers of several workers at once.
    """

    shared: ClassVar[bool] = False

    def bind(self, seed: int) -> None:
        """Start with no row."""
        self.random = StepRandom(seed, "draws")

    def use_classes(self, classes: Groups) -> None:
        """Draw by the slots of each class that the policy keeps account of, if the sampler draws by class."""

    @abstractmethod
    def draw(self, n: int, step: int, size: int, rate: Rate | None = None) -> Tensor:
        """At most `n` distinct slots (n,), int64, of the first `size` slots; fewer if there are not enough.

        Args:
            n: Number of slots wanted.
            step: Number of the draw.
            size: Number of rows stored.
            rate: Scores rows, for samplers that need it.
        """

    def on_stored(self, slots: Tensor, labels: Tensor | None, tasks: Tensor | None) -> None:
        """Samples with labels (r,) and tasks (r,) were written to slots (r,)."""

    def on_features(self, slots: Tensor, features: Tensor) -> None:
        """The samples that were just written to slots (r,) have features (r, d); for samplers that need them."""

    def on_incoming(self, tasks: Tensor | None) -> None:
        """Samples of tasks (n,) came in, whether they were kept or not."""

    def refresh(self, features: Tensor) -> None:
        """Note new features (size, d) of all stored rows, in the order of their slots."""

    @override
    def slot_metadata(self) -> dict[str, Tensor]:
        return {} if not self.state_dict() else super().slot_metadata()

    def resume(self, slots: Tensor, metadata: Mapping[str, Tensor], others: Sequence[Self]) -> None:
        """Start with rows (r,) that were stored on other workers.

        Args:
            slots: Their slots on this worker (r,).
            metadata: Their metadata (r, ...), by name; see `slot_metadata`.
            others: The samplers of all workers whose rows are distributed.
        """
        self.on_stored(slots, metadata.get("labels"), metadata.get("tasks"))

    # Drawing from the buffers of several workers, for samplers that are shared.

    @property
    def current(self) -> int:
        """The task that is trained; -1 if it is not known, or does not matter."""
        return -1

    def group_counts(self, size: int) -> dict[int, int]:
        """The number of rows in each group, by the id of the group; the sampler defines the groups."""
        raise NotImplementedError

    def locate(self, groups: list[int] | Tensor, numbers: Tensor) -> Tensor:
        """The slots (n,), int64, of rows of this worker, given by their groups (n,) and their numbers (n,) in these."""
        raise NotImplementedError

    @classmethod
    def plan(cls, random: CounterRandom, step: int, n: int, group_counts: GroupCounts) -> Draws:
        """The plan of a draw: at most `n` distinct rows for each worker, out of the rows of all workers.

        The plan follows from the arguments alone, so that all workers compute the same one. There may be 65,536
        workers and 2^31 steps; draws per worker and groups may add up to 65,536.

        Args:
            random: The random numbers; they have the same key on all workers.
            step: Number of the draw.
            n: Number of rows that each worker wants.
            group_counts: Number of rows that each worker stores, by group.
        """
        raise NotImplementedError

    @classmethod
    def part(cls, random: CounterRandom, step: int, n: int, group_counts: GroupCounts, rank: int) -> ExchangePlan:
        """Worker `rank`'s part of `plan`; a sampler may find it without planning the draws of all others."""
        return exchange_plan(cls.plan(random, step, n, group_counts), rank, len(group_counts.counts))

    def state_dict(self) -> State:
        """The state that the next draws depend on, beside the step, as tensors and plain values."""
        return {}

    def load_state_dict(self, state: State) -> None:
        """Continue from what `state_dict` returned, on a sampler of the same options that is bound already."""
