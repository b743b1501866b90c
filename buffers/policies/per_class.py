"""Policies that share the capacity among the classes seen so far; their number need not be known in advance."""

from abc import abstractmethod
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from typing import ClassVar, Self, TypeVar

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from redwood.buffers.policies.base import CandidateInfo, Placement, Policy
from redwood.buffers.randomness import CounterRandom, integers
from redwood.buffers.slot_groups import MANY_SLOTS, Groups
from redwood.core.errors import BufferInputError
from redwood.core.state import State

# From this number of samples on, those that are refused are found all at once.
MANY_SAMPLES = 256

Number = TypeVar("Number", float, Tensor)


class ClassQuota(Policy):
    """Keep equally many samples of each class, as far as the classes have that many.

    While there are free slots, all samples are kept. After that, a sample of a class that was never the largest one
    takes the slot of a sample of the largest class. A class that was the largest one has had its share: its samples
    only replace samples of the same class, with a probability that the subclass decides (Chrysakis and Moens, 2020,
    "Online Continual Learning from Imbalanced Data", algorithm 1). Other classes use the room that a small class
    leaves free.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"labels"})
    quota: int | None = None  # a fixed limit for each class; None: the classes share the capacity

    @override
    def bind(self, capacity: int, seed: int) -> None:
        super().bind(capacity, seed)
        self._choices = CounterRandom(seed, "which sample gives way")
        self._lots = CounterRandom(seed, "whether a sample enters")
        self.groups = Groups()
        self._seen: Counter[int] = Counter()  # number of samples of each class seen so far
        self._full: set[int] = set()  # classes that were the largest one while no slot was free

    @property
    @override
    def classes(self) -> Groups:
        return self.groups

    @abstractmethod
    def chance(self, arrival: Number, kept: Number, n: int) -> Number | float:
        """Probability that a sample of a class that has had its share replaces another sample of its class.

        Args:
            arrival: Number of the sample among those of its class, from 1; one number, or a tensor for many samples.
            kept: Number of stored samples of its class; likewise.
            n: Number of samples in the batch.
        """

    def gives_way(self, group: int, draw: float) -> int:
        """The slot that a class gives up: a random one; `draw` is uniform in [0, 1)."""
        return self.groups.slot(group, int(draw * self.groups.size(group)))

    def put(self, slot: int, group: int) -> None:
        """Assign a slot to a class."""
        self.groups.put(slot, group)

    def fill(self, slots: Tensor, labels: Tensor) -> None:
        """Assign free slots (n,), ascending, to classes (n,)."""
        self.groups.assign(slots, labels)

    @override
    def propose(self, info: CandidateInfo) -> Placement:
        """Decide one sample after the other, in the order of arrival; many samples fill free slots all at once."""
        assert info.labels is not None
        start, n_filled = self.size, self._fill(info.labels)
        if n_filled == info.n:
            return Placement(torch.arange(info.n), torch.arange(start, self.size))
        taken = {start + i: i for i in range(n_filled)}
        labels, n = info.labels[n_filled:], info.n - n_filled
        groups = labels.tolist()
        lots, draws = (random.run(self.n_seen, n) for random in (self._lots, self._choices))
        if n > MANY_SAMPLES:
            positions, arrivals = self._undecided(labels, lots, info.n)
            self._seen.update(groups)
        else:
            positions, arrivals = list(range(n)), [self._count(group) for group in groups]
        for position, arrival, lot, draw in zip(
            positions, arrivals, lots[positions].tolist(), draws[positions].tolist(), strict=True
        ):
            slot = self._slot(groups[position], arrival, lot, draw, info.n)
            if slot is not None:
                self.put(slot, groups[position])
                taken[slot] = n_filled + position
        self.n_seen += n
        return Placement.of(taken)

    def _fill(self, labels: Tensor) -> int:
        """Put the first samples into free slots, if these are many and no quota is in their way; returns their number.

        While a slot is free, no class has had its share of the capacity.
        """
        n = min(self.capacity - self.size, len(labels))
        if n < MANY_SLOTS:
            return 0
        classes, counts = labels[:n].unique(return_counts=True)
        found = dict(zip(classes.tolist(), counts.tolist(), strict=True))
        if self.quota is not None and any(self.groups.size(name) + more > self.quota for name, more in found.items()):
            return 0
        self.fill(torch.arange(self.size, self.size + n), labels[:n])
        self._seen.update(found)
        self.size += n
        self.n_seen += n
        return n

    def _count(self, group: int) -> int:
        self._seen[group] += 1
        return self._seen[group]

    def _undecided(self, labels: Tensor, lots: Tensor, n: int) -> tuple[list[int], list[int]]:
        """The samples of a batch of `n` that may still be kept; the others are refused all at once.

        A sample is refused if its class has had its share and the sample does not replace another one. Of a large batch
        most samples are refused.

        Returns:
            Positions in the batch, and numbers among the samples of the same class.
        """
        classes, inverse = labels.unique(return_inverse=True)
        names = classes.tolist()
        arrivals = integers([self._seen[name] for name in names])[inverse] + _numbers_within(inverse) + 1
        kept = integers([self.groups.size(name) for name in names])[inverse]
        has_room = torch.tensor([not self._has_its_share(name) for name in names])[inverse]
        wins: Tensor = lots < self.chance(arrivals, kept, n)
        positions = (has_room | wins).nonzero().view(-1)
        return positions.tolist(), arrivals[positions].tolist()

    def _has_its_share(self, group: int) -> bool:
        return group in self._full or (self.quota is not None and self.groups.size(group) >= self.quota)

    def _slot(self, group: int, arrival: int, lot: float, draw: float, n: int) -> int | None:
        """The slot that a sample gets, or None."""
        if not self._has_its_share(group):
            if self.size < self.capacity:
                self.size += 1
                return self.size - 1
            sizes = self.groups.sizes()
            most = max(sizes.values())
            largest = [other for other, size in sizes.items() if size == most]
            self._full.update(largest)
            if group not in self._full:
                return self.gives_way(largest[0], draw)
        kept = self.groups.size(group)  # none, once more classes came than there are slots
        return self.gives_way(group, draw) if kept and lot < self.chance(arrival, kept, n) else None

    @override
    def validate_slots(self, size: int) -> bool:
        return self.groups.validate_slots(size)

    @override
    def slot_metadata(self) -> dict[str, Tensor]:
        return {"labels": self.groups.of_all()}

    @override
    def resume(self, info: CandidateInfo, others: Sequence[Self], share: Callable[[int], int]) -> Placement:
        """Start with samples of other workers; samples seen before are counted class by class."""
        placement = self.propose(info)
        for group in sorted(set().union(*(other._seen for other in others))):
            n = share(sum(other._seen[group] - other.groups.size(group) for other in others))
            self._seen[group] += n
            self.n_seen += n
        if self.size == self.capacity:  # otherwise every class may fill free slots
            self._full.update(*(other._full for other in others))
        return placement

    @override
    def state_dict(self) -> State:
        return super().state_dict() | {
            "groups": self.groups.state_dict(),
            "seen": dict(sorted(self._seen.items())),
            "full": sorted(self._full),
        }

    @override
    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        self.groups = Groups.restored(state["groups"])
        self._seen, self._full = Counter(state["seen"]), set(state["full"])


def _numbers_within(groups: Tensor) -> Tensor:
    """Number of each element (n,) among those of its group, from 0."""
    order = groups.argsort(stable=True)
    ordered = groups[order]
    numbers = torch.empty_like(groups)
    numbers[order] = torch.arange(len(groups)) - torch.searchsorted(ordered, ordered)
    return numbers


class ClassBalancedReservoir(ClassQuota):
    """A reservoir for each class (CBRS: Chrysakis and Moens, 2020, algorithm 1).

    After n samples of a class, m of them are stored: each of the n samples with probability m / n.
    """

    @override
    def chance(self, arrival: Number, kept: Number, n: int) -> Number | float:
        """The share m / n."""
        return kept / arrival


class GreedyBalanced(ClassQuota):
    """Keep the first samples of each class (the greedy sampler of GDumb: Prabhu et al., 2020, algorithm 1)."""

    @override
    def chance(self, arrival: Number, kept: Number, n: int) -> Number | float:
        """Never."""
        return 0.0


class Ring(ClassQuota):
    """First in, first out, for each class (the ring buffer of Chaudhry et al., 2019, "On Tiny Episodic Memories").

    If all samples have one label, it holds the latest samples of the stream.
    """

    @override
    def bind(self, capacity: int, seed: int) -> None:
        super().bind(capacity, seed)
        # A queue for each class: a slot gives way only when it is the first one of its queue.
        self._next = array("i", [0]) * capacity  # the slot behind each one in its queue
        self._ends: dict[int, list[int]] = {}  # the first and the last slot of each queue

    @override
    def chance(self, arrival: Number, kept: Number, n: int) -> Number | float:
        """Always."""
        return 1.0

    @override
    def gives_way(self, group: int, draw: float) -> int:
        """The oldest one."""
        return self._ends[group][0]

    @override
    def put(self, slot: int, group: int) -> None:
        """The slot goes to the end of its class's queue."""
        if slot < self.groups.total:
            former = self.groups.group_of(slot)
            first, last = self._ends[former]
            assert slot == first
            if first == last:
                del self._ends[former]
            else:
                self._ends[former][0] = self._next[slot]
        self._queue(group, slot, slot)
        super().put(slot, group)

    def _queue(self, group: int, first: int, last: int) -> None:
        """Append slots that follow each other already."""
        if group in self._ends:
            self._next[self._ends[group][1]] = first
            self._ends[group][1] = last
        else:
            self._ends[group] = [first, last]

    @override
    def fill(self, slots: Tensor, labels: Tensor) -> None:
        super().fill(slots, labels)
        order = labels.argsort(stable=True)
        queued = slots[order]
        np.frombuffer(self._next, dtype=np.int32)[queued[:-1].numpy()] = queued[1:].numpy()
        names, counts = labels[order].unique_consecutive(return_counts=True)
        ends = counts.cumsum(0)
        bounds = (names, queued[ends - counts], queued[ends - 1])
        for group, first, last in zip(*(bound.tolist() for bound in bounds), strict=True):
            self._queue(group, first, last)

    @override
    def validate_slots(self, size: int) -> bool:
        """Also whether every slot is the first one of a queue, or comes after one other slot of its class."""
        if not super().validate_slots(size) or self._ends.keys() != self.groups.sizes().keys():
            return False
        groups, followers = self.groups.of_all(), torch.from_numpy(np.array(self._next[:size], dtype=np.int64))
        firsts, lasts = torch.tensor(list(self._ends.values()), dtype=torch.int64).view(-1, 2).unbind(1)
        has_next = torch.ones(size, dtype=torch.bool)
        has_next[lasts] = False
        queued = torch.cat([firsts, followers[has_next]]).sort().values
        names = integers(list(self._ends))
        return (
            torch.equal(queued, torch.arange(size))
            and torch.equal(groups[followers[has_next]], groups[has_next])
            and torch.equal(groups[firsts], names)
            and torch.equal(groups[lasts], names)
        )

    @override
    def state_dict(self) -> State:
        following = torch.from_numpy(np.array(self._next[: self.size], dtype=np.int32))
        following[[last for _, last in self._ends.values()]] = -1  # nothing comes after it
        return super().state_dict() | {
            "next": following,
            "ends": {name: tuple(self._ends[name]) for name in sorted(self._ends)},
        }

    @override
    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        self._next[: self.size] = array("i", state["next"].numpy().tobytes())
        self._ends = {group: list(ends) for group, ends in state["ends"].items()}


class PerClassRandom(ClassQuota):
    """Of each batch about c candidates replace random samples of their classes (Bouvier et al., 2024, algorithm 1).

    All samples are kept while their class has room. After that a sample of a batch of b samples enters with probability
    c / b, in place of a random sample of its class. That is no reservoir: in a class of S stored samples, each survives
    m further samples of the class with probability (1 - c / (b S))^m, so recent samples prevail.
    """

    def __init__(self, candidates: int = 14, quota: int | None = None) -> None:
        """Choose c and S.

        Args:
            candidates: Number c of samples of each batch that may replace others.
            quota: Number S of samples of each class; None: the classes seen so far share the capacity.

        Raises:
            ValueError: If either is less than 1.
        """
        for name, value in (("candidates", candidates), ("quota", 1 if quota is None else quota)):
            if value < 1:
                raise BufferInputError(f"{name} has to be at least 1, got {value}.")
        self.candidates, self.quota = candidates, quota

    @override
    def bind(self, capacity: int, seed: int) -> None:
        super().bind(capacity, seed)
        self._orders = CounterRandom(seed, "order of those who resume")

    @override
    def resume(self, info: CandidateInfo, others: Sequence[Self], share: Callable[[int], int]) -> Placement:
        """Start with samples of other workers, in random order: the first ones are more likely to stay."""
        assert info.labels is not None
        order = self._orders.run(0, info.n).argsort()
        positions, slots = super().resume(info._replace(labels=info.labels[order]), others, share)
        return Placement(order[positions], slots)

    @override
    def chance(self, arrival: Number, kept: Number, n: int) -> Number | float:
        """The rate c / b."""
        return self.candidates / n
