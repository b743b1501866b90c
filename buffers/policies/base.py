"""What a policy is: it decides which samples are kept, and where."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, NamedTuple, Self

from torch import Tensor

from redwood.buffers.component import Component
from redwood.buffers.randomness import integers
from redwood.core.state import State

_NONE = integers(())


class CandidateInfo(NamedTuple):
    """What a policy is told of the samples that come in: never the samples themselves.

    Attributes:
        n: How many there are.
        labels: Their classes (n,) int64, or label sets (n, L) bool; on the host.
        tasks: Their tasks (n,) int64, on the host.
        losses: Their losses (n,), on the host.
        features: Their features (n, d), on the host.
    """

    n: int
    labels: Tensor | None = None
    tasks: Tensor | None = None
    losses: Tensor | None = None
    features: Tensor | None = None


class Placement(NamedTuple):
    """Which of the offered samples are kept, and where.

    Attributes:
        positions: Positions (r,) in the batch, int64.
        slots: Distinct slots (r,) that they take, int64.
    """

    positions: Tensor
    slots: Tensor

    @classmethod
    def of(cls, taken: Mapping[int, int]) -> Self:
        """From the position of the sample that each slot gets."""
        if not taken:
            return cls(_NONE, _NONE)
        return cls(integers(list(taken.values())), integers(list(taken)))


class Policy(Component, ABC):
    """Decides from indices and scalars which samples a buffer keeps.

    The slots in use are always the first `size` ones: a row is only given up for a new one.

    Set in a subclass:
        needs: What it has to be told of each sample: `labels`, `losses`, `features`.
        takes_sets: Whether a sample may have several labels.

    Attributes:
        capacity: Number of slots.
        size: Number of slots in use.
        n_seen: Number of samples offered so far.
    """

    takes_sets: ClassVar[bool] = False

    capacity: int = 0
    size: int = 0
    n_seen: int = 0

    def bind(self, capacity: int, seed: int) -> None:
        """Start with no sample. All decisions follow from the seed and the numbers of the samples' arrival."""
        self.capacity, self.size, self.n_seen = capacity, 0, 0

    @abstractmethod
    def propose(self, info: CandidateInfo) -> Placement:
        """Decide on the next samples of the stream, and take note of them."""

    def on_replayed(self, slots: Tensor, losses: Tensor) -> None:
        """Rows (n,) were replayed and had these losses (n,)."""

    def resume(self, info: CandidateInfo, others: Sequence[Self], share: Callable[[int], int]) -> Placement:
        """Start with samples that policies of other workers kept, and with a share of what else these have seen.

        Where there is not enough room for the samples, they are decided on as if they came anew.

        Args:
            info: The samples that this worker is to go on with, in the order of their arrival.
            others: The policies of all workers whose samples are dealt out.
            share: How many of so many further samples fall to this worker.
        """
        placement = self.propose(info)
        self.n_seen += share(sum(other.n_seen - other.size for other in others))
        return placement

    def state_dict(self) -> State:
        """What the next decisions depend on, as tensors and plain values."""
        return {"size": self.size, "n_seen": self.n_seen}

    def load_state_dict(self, state: State) -> None:
        """Go on from a state."""
        self.size, self.n_seen = state["size"], state["n_seen"]
