"""The base of policies: a policy decides which samples a buffer keeps, and in which slots."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, NamedTuple, Self

from torch import Tensor

from redwood.buffers.component import Component
from redwood.buffers.randomness import integers
from redwood.buffers.slot_groups import Groups
from redwood.core.state import State


class CandidateInfo(NamedTuple):
    """The information that a policy gets about incoming samples: never the samples themselves.

    Attributes:
        n: Number of samples.
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
    """The samples of a batch to keep, and their slots.

    Attributes:
        positions: Positions (r,) in the batch, int64.
        slots: Distinct slots (r,) that these samples get, int64.
    """

    positions: Tensor
    slots: Tensor

    @staticmethod
    def of(taken: Mapping[int, int]) -> "Placement":
        """A placement from a mapping of slots to positions."""
        return Placement(integers(list(taken.values())), integers(list(taken))) if taken else NOTHING


# No sample is kept.
NOTHING = Placement(integers(()), integers(()))


class Policy(Component, ABC):
    """Decides from indices and scalars which samples a buffer keeps.

    The slots in use are always the first `size` ones: a sample is only given up for a new one. The arguments of the
    constructor are attributes of the same names. A policy with state of its own extends `bind`, where it begins,
    `state_dict` and `load_state_dict`.

    Set in a subclass:
        needs: Names of the side information that it needs of each sample: `labels`, `losses`, `features`.
        takes_sets: Whether a sample may have several labels.

    Attributes:
        capacity: Number of slots.
        size: Number of slots in use.
        n_seen: Number of samples seen so far.
    """

    takes_sets: ClassVar[bool] = False

    capacity: int = 0
    size: int = 0
    n_seen: int = 0

    @property
    def classes(self) -> Groups | None:
        """The slots of each class, if the policy keeps account of them: a sampler by class then needs no own table."""
        return None

    def bind(self, capacity: int, seed: int) -> None:
        """Start with no sample. All decisions follow from the seed and the numbers of the arrivals."""
        self.capacity, self.size, self.n_seen = capacity, 0, 0

    @abstractmethod
    def propose(self, info: CandidateInfo) -> Placement:
        """Decide which of the next samples of the stream to keep, and count them as seen.

        It adds `info.n` to `n_seen`. It takes free slots without a gap, from slot `size` on, and adds their number to
        `size`. A buffer refuses a placement that breaks these rules, or takes a slot twice.
        """

    def on_replayed(self, slots: Tensor, losses: Tensor) -> None:
        """Note the losses (n,) that the samples in slots (n,) had when they were replayed."""

    def resume(self, info: CandidateInfo, others: Sequence[Self], share: Callable[[int], int]) -> Placement:
        """Start with samples that policies of other workers kept, and with a share of their counts of seen samples.

        If there is not enough room for all samples, the policy decides as if they arrived now.

        Args:
            info: The samples that this worker gets, in the order of their arrival.
            others: The policies of all workers whose samples are distributed.
            share: Maps a number of further samples to the share of this worker.
        """
        placement = self.propose(info)
        self.n_seen += share(sum(other.n_seen - other.size for other in others))
        return placement

    def state_dict(self) -> State:
        """The state that the next decisions depend on, as tensors and plain values."""
        return {"size": self.size, "n_seen": self.n_seen}

    def load_state_dict(self, state: State) -> None:
        """Continue from what `state_dict` returned, on a policy of the same options that is bound already."""
        self.size, self.n_seen = state["size"], state["n_seen"]
