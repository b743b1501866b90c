"""The slots of each group, such as a class or a task, in arrays: 8 bytes a slot."""

from array import array
from collections.abc import Iterable, Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor

from redwood.buffers.randomness import Array, integers
from redwood.core.state import State

# Slots in a block: a group fills its last block in part, so small blocks waste less and large ones need fewer entries.
_BITS = 6
_BLOCK, _WITHIN = 1 << _BITS, (1 << _BITS) - 1
# From this number on, slots are assigned or located all at once; for fewer, loops are faster than calls of NumPy.
MANY_SLOTS = 128
# And only if groups have this many of them on average: each group costs calls of NumPy.
PER_GROUP = 32


def _grown(table: "array[int]", n: int, fill: int) -> "array[int]":
    """The table with at least `n` entries, a 16th more than before if there are not so many."""
    if n <= len(table):
        return table
    grown = array("i", [fill]) * max(n, _BLOCK, len(table) * 17 // 16)
    _view(grown)[: len(table)] = _view(table)
    return grown


def _view(table: "array[int]") -> Array:
    """The memory of a table as an array of NumPy, which is faster for many entries, and slower for single ones."""
    return np.frombuffer(table, dtype=np.int32)


class Groups:
    """The slots of each group, in an order that draws depend on. There may be 2^31 slots.

    A group lists its slots in blocks of one common array. A slot knows its place in that array, and the block of a
    place knows its group. So a slot takes 8 bytes, and to assign or to locate one takes constant time.

    Examples:
        >>> groups = Groups()
        >>> groups.assign([0, 1, 2], [7, 7, 3])
        >>> groups.assign([0], [3])
        >>> groups.slots(3).tolist(), groups.sizes()
        ([2, 0], {7: 1, 3: 2})
    """

    def __init__(self) -> None:
        self.total = 0
        self._sizes: dict[int, int] = {}
        self._blocks: dict[int, array[int]] = {}  # the blocks of each group, in the order of its slots
        self._owners: array[int] = array("q")  # the group of each block
        self._free: list[int] = []  # blocks of no group
        self._members = array("i")  # the slot at each place
        self._places = array("i")  # the place of each slot, or -1

    def assign(self, slots: Sequence[int] | Tensor, groups: Sequence[int] | Tensor) -> None:
        """Put slots (n,) into groups (n,), one after the other, and remove them from their former groups."""
        if len(slots) >= MANY_SLOTS and _are_large(groups):
            many = _as_array(slots)
            self._reserve_slots(int(many.max()) + 1)
            if self._are_new(many):
                self._append(many, _as_array(groups))
                return
        for slot, group in zip(_as_ints(slots), _as_ints(groups), strict=True):
            self.put(slot, group)

    def _are_new(self, slots: Array) -> bool:
        """True if slots (n,) are in no group, and all different."""
        places, marks = _view(self._places), np.arange(len(slots), dtype=np.int32)
        if bool((places[slots] >= 0).any()):
            return False
        places[slots] = marks
        is_distinct = bool((places[slots] == marks).all())
        places[slots] = -1
        return is_distinct

    def put(self, slot: int, group: int) -> None:
        """Put one slot into a group, as its last one, and remove it from its former group."""
        if slot >= len(self._places):
            self._reserve_slots(slot + 1)
        elif self._places[slot] >= 0:
            self._remove(slot)
        size = self._sizes.get(group, 0)
        if not size & _WITHIN:
            self._add_block(group)
        place = self._blocks[group][-1] << _BITS | size & _WITHIN
        self._members[place] = slot
        self._places[slot] = place
        self._sizes[group] = size + 1
        self.total += 1

    def _reserve_slots(self, n: int) -> None:
        self._places = _grown(self._places, n, -1)

    def _add_block(self, group: int) -> None:
        if self._free:
            block = self._free.pop()
            self._owners[block] = group
        else:
            block = len(self._owners)
            self._owners.append(group)
            self._members = _grown(self._members, len(self._owners) << _BITS, 0)
        self._blocks.setdefault(group, array("i")).append(block)

    def _add_blocks(self, group: int, n: int) -> None:
        while n and self._free:
            self._add_block(group)
            n -= 1
        first = len(self._owners)
        self._owners.extend(array("q", [group]) * n)
        self._members = _grown(self._members, len(self._owners) << _BITS, 0)
        self._blocks.setdefault(group, array("i")).extend(range(first, first + n))

    def _remove(self, slot: int) -> None:
        """The last slot of the group takes the place of the one that is removed."""
        members, places = self._members, self._places
        place = places[slot]
        group = self._owners[place >> _BITS]
        blocks = self._blocks[group]
        size = self._sizes[group] - 1
        last = members[blocks[-1] << _BITS | size & _WITHIN]
        members[place] = last
        places[last] = place
        places[slot] = -1
        self._sizes[group] = size
        self.total -= 1
        if not size & _WITHIN:
            self._free.append(blocks.pop())
            if not size:
                del self._sizes[group], self._blocks[group]

    def _append(self, slots: Array, groups: Array) -> None:
        """Assign slots (n,) that are in no group, all at once."""
        names, firsts, inverse, counts = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
        order = inverse.argsort(kind="stable")
        ends = counts.cumsum()
        for index in firsts.argsort().tolist():  # groups are listed in the order in which they came
            group, n = int(names[index]), int(counts[index])
            size = self._sizes.get(group, 0)
            self._add_blocks(group, (size + n + _WITHIN >> _BITS) - len(self._blocks.get(group, ())))
            places = self._places_of(group, np.arange(size, size + n))
            members, all_places = _view(self._members), _view(self._places)
            mine = slots[order[ends[index] - n : ends[index]]]
            members[places] = mine
            all_places[mine] = places
            self._sizes[group] = size + n
        self.total += len(slots)

    def _places_of(self, group: int, numbers: Array) -> Array:
        """The places (n,) of the slots of a group that have these numbers (n,)."""
        blocks = _view(self._blocks[group])
        places: Array = blocks[numbers >> _BITS] << _BITS | numbers & _WITHIN
        return places

    def slots(self, group: int) -> Tensor:
        """The slots of a group (n,), int64, in its order."""
        size = self._sizes.get(group, 0)
        if not size:
            return torch.empty(0, dtype=torch.int64)
        return torch.from_numpy(_view(self._members)[self._places_of(group, np.arange(size))].astype(np.int64))

    def slot(self, group: int, number: int) -> int:
        """The slot of a group that has a number in its order."""
        return self._members[self._blocks[group][number >> _BITS] << _BITS | number & _WITHIN]

    def locate(self, groups: Sequence[int] | Tensor, numbers: Sequence[int] | Tensor) -> Tensor:
        """The slots (n,), int64, given by their groups (n,) and their numbers (n,) in the order of these."""
        n = len(groups)
        names = np.unique(_as_array(groups)).tolist() if n >= MANY_SLOTS else []
        if not n or len(names) * 8 > n or n < MANY_SLOTS:
            found = zip(_as_ints(groups), _as_ints(numbers), strict=True)
            return integers([self.slot(group, number) for group, number in found])
        wanted, positions = _as_array(groups), _as_array(numbers)
        slots = np.empty(n, dtype=np.int64)
        for group in names:
            which = np.flatnonzero(wanted == group)
            slots[which] = _view(self._members)[self._places_of(group, positions[which])]
        return torch.from_numpy(slots)

    def group_of(self, slot: int) -> int:
        """The group that a slot is in."""
        return self._owners[self._places[slot] >> _BITS]

    def of_all(self) -> Tensor:
        """The groups (total,), int64, of the first `total` slots, which all are in groups."""
        if not self.total:
            return torch.empty(0, dtype=torch.int64)
        owners = np.frombuffer(self._owners, dtype=np.int64)
        return torch.from_numpy(owners[_view(self._places)[: self.total] >> _BITS])

    def size(self, group: int) -> int:
        """Number of slots in a group."""
        return self._sizes.get(group, 0)

    def sizes(self) -> dict[int, int]:
        """Number of slots in each group that has any."""
        return dict(self._sizes)

    def __len__(self) -> int:
        """Number of groups that have slots."""
        return len(self._sizes)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        of_groups = sum(blocks.itemsize * len(blocks) for blocks in self._blocks.values())
        return 4 * (len(self._members) + len(self._places)) + 8 * len(self._owners) + of_groups

    def validate_slots(self, size: int) -> bool:
        """True if the first `size` slots, and no others, are in groups."""
        return self.total == size <= len(self._places) and bool((_view(self._places)[:size] >= 0).all())

    def state_dict(self) -> State:
        """The groups (G,), their sizes (G,), and their slots (n,), one group after the other."""
        slots = [self.slots(group).int() for group in self._sizes]
        return {
            "groups": integers(list(self._sizes)),
            "sizes": integers(list(self._sizes.values())),
            "slots": torch.cat(slots) if slots else torch.empty(0, dtype=torch.int32),
        }

    @classmethod
    def restored(cls, state: State) -> Self:
        """The groups of a state.

        Raises:
            KeyError: If the state holds a slot twice, or its lengths do not fit.
        """
        names, sizes, slots = (state[name].numpy() for name in ("groups", "sizes", "slots"))
        groups = cls()
        n_groups = len(np.unique(names))
        if not n_groups == len(names) == len(sizes) or len(slots) != sizes.sum() or bool((sizes < 1).any()):
            raise KeyError("the sizes of groups do not fit to their slots")
        if len(slots):
            if slots.min() < 0 or slots.max() >= len(slots):
                raise KeyError("a slot is out of range")
            groups._reserve_slots(len(slots))
            groups.assign(torch.from_numpy(slots), torch.from_numpy(np.repeat(names, sizes)))
            if bool((_view(groups._places)[: len(slots)] < 0).any()):
                raise KeyError("a slot is in two groups")
        return groups


def _are_large(groups: Sequence[int] | Tensor) -> bool:
    """True if the groups (n,) have PER_GROUP entries each on average."""
    names = _as_array(groups)
    # Groups are mostly numbered through: their range is found much faster than their number.
    most = int(names.max()) - int(names.min()) + 1
    return len(names) >= PER_GROUP * most or len(names) >= PER_GROUP * len(set(_as_ints(groups)))


def _as_array(values: Sequence[int] | Tensor) -> Array:
    return values.numpy() if isinstance(values, Tensor) else np.asarray(values, dtype=np.int64)


def _as_ints(values: Sequence[int] | Tensor) -> Iterable[int]:
    ints: Iterable[int] = values.tolist() if isinstance(values, Tensor) else values
    return ints
