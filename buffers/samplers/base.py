"""What a sampler is: it decides which stored rows form a draw."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Self

from torch import Tensor
from typing_extensions import override

from redwood.buffers.component import Component
from redwood.buffers.randomness import CounterRandom, StepRandom
from redwood.buffers.samplers.counts import Draws, GroupCounts
from redwood.core.state import State

# Maps slots (n,) to a score of each row stored there (n,).
Rate = Callable[[Tensor], Tensor]


class Sampler(Component, ABC):
    """Draws distinct rows; the draw of a step follows from the seed and the number of the step.

    Set in a subclass:
        needs: What it has to be told: `labels`, `tasks` and `features` of the stored rows, a `rate` with each draw.
        shared: Whether it can draw from the buffers of several workers at once.
    """

    shared: ClassVar[bool] = False

    def bind(self, seed: int) -> None:
        """Start with no row."""
        self.random = StepRandom(seed, "draws")

    @abstractmethod
    def draw(self, n: int, step: int, size: int, rate: Rate | None = None) -> Tensor:
        """At most `n` distinct ones of the first `size` slots (n,), int64; fewer if there are not that many to choose.

        Args:
            n: How many.
            step: Number of the draw.
            size: Number of rows stored.
            rate: Scores rows, for samplers that need it.
        """

    def on_stored(self, slots: Tensor, labels: Tensor | None, tasks: Tensor | None) -> None:
        """Rows (r,) were overwritten by samples of these labels (r,) and tasks (r,)."""

    def on_incoming(self, tasks: Tensor | None) -> None:
        """Samples of these tasks (n,) came in, whether they were kept or not."""

    def refresh(self, features: Tensor) -> None:
        """The features (size, d) of all stored rows, in the order of their slots, as they are now."""

    @override
    def slot_metadata(self) -> dict[str, Tensor]:
        """What it knows of each stored row (size, ...), by name, in the order of the slots."""
        return {} if not self.state_dict() else super().slot_metadata()

    def resume(self, slots: Tensor, told: Mapping[str, Tensor], others: Sequence[Self]) -> None:
        """Start with rows (r,) that were stored on other workers.

        Args:
            slots: Where they are now (r,).
            told: What was known of them there (r, ...), by name; see `slot_metadata`.
            others: The samplers of all workers whose rows are dealt out.
        """
        self.on_stored(slots, told.get("labels"), told.get("tasks"))

    # Drawing from the buffers of several workers, for samplers that are shared.

    @property
    def current(self) -> int:
        """The task that is trained; -1 if none is known, or it does not matter."""
        return -1

    def group_counts(self, size: int) -> dict[int, int]:
        """How many of the `size` rows stored are in each of the groups that it tells apart, by their ids."""
        raise NotImplementedError

    def locate(self, groups: list[int] | Tensor, numbers: Tensor) -> Tensor:
        """The slots (n,), int64, of own rows, given the ids of their groups (n,) and their numbers (n,) within them."""
        raise NotImplementedError

    @classmethod
    def plan(cls, random: CounterRandom, step: int, n: int, group_counts: GroupCounts) -> Draws:
        """Who draws what: at most `n` distinct rows for each worker, out of those of all workers.

        Depends on the arguments alone: workers that know the same plan the same. There may be 65,536 workers, 2^31
        steps, and as many draws per worker and groups as make 65,536 together.

        Args:
            random: What decides; it has to have the same key on all workers.
            step: Number of the draw.
            n: How many rows each worker wants.
            group_counts: What all workers store.
        """
        raise NotImplementedError

    def state_dict(self) -> State:
        """What the next draws depend on beside the step, as tensors and plain values."""
        return {}

    def load_state_dict(self, state: State) -> None:
        """Go on from a state."""
