"""Statistics of slots: arrivals, numbers of draws, and groups by class or task."""

from collections.abc import Iterable

import torch
from torch import Tensor

from redwood.core.state import State


class SlotStatistics:
    """Two numbers for each slot, on the host.

    Attributes:
        arrivals: Number of the sample in the stream (capacity,), int64.
        draws: Number of draws since the sample came (capacity,), int64.
    """

    def __init__(self, capacity: int) -> None:
        """Start with empty slots."""
        self.arrivals: Tensor = torch.zeros(capacity, dtype=torch.int64)
        self.draws: Tensor = torch.zeros(capacity, dtype=torch.int64)

    def on_stored(self, slots: Tensor, arrivals: Tensor) -> None:
        """Samples with the numbers `arrivals` (r,) of the stream were written to slots (r,)."""
        self.arrivals.index_copy_(0, slots, arrivals)
        self.draws.index_fill_(0, slots, 0)

    def on_drawn(self, slots: Tensor) -> None:
        """The rows in slots (n,) were drawn."""
        self.draws.index_add_(0, slots, torch.ones_like(slots))

    def state_dict(self, n: int) -> State:
        """The statistics of the first `n` slots."""
        return {"arrivals": self.arrivals[:n].clone(), "draws": self.draws[:n].clone()}

    def load_state_dict(self, state: State) -> None:
        """Restore the statistics of the first slots."""
        for own, saved in ((self.arrivals, state["arrivals"]), (self.draws, state["draws"])):
            own[: len(saved)] = saved


class Groups:
    """The slots of each group; a group is a class or a task. All operations but listing take constant time.

    Examples:
        >>> groups = Groups()
        >>> groups.assign([0, 1, 2], [7, 7, 3])
        >>> groups.assign([0], [3])
        >>> groups.slots(3), groups.sizes()
        ([2, 0], {7: 1, 3: 2})
    """

    def __init__(self) -> None:
        self._slots: dict[int, list[int]] = {}
        self._place: dict[int, tuple[int, int]] = {}  # slot -> its group and its index in the group's list

    def assign(self, slots: Iterable[int], groups: Iterable[int]) -> None:
        """Put slots into groups, and remove them from their former groups."""
        for slot, group in zip(slots, groups, strict=True):
            if slot in self._place:
                self._remove(slot)
            members = self._slots.setdefault(group, [])
            self._place[slot] = (group, len(members))
            members.append(slot)

    def _remove(self, slot: int) -> None:
        group, index = self._place.pop(slot)
        members = self._slots[group]
        last = members.pop()
        if last != slot:
            members[index] = last
            self._place[last] = (group, index)
        if not members:
            del self._slots[group]

    def slots(self, group: int) -> list[int]:
        """The slots of a group; not to be changed."""
        return self._slots.get(group, [])

    def group_of(self, slot: int) -> int:
        """The group that a slot is in."""
        return self._place[slot][0]

    def size(self, group: int) -> int:
        """Number of slots in a group."""
        return len(self._slots.get(group, ()))

    def sizes(self) -> dict[int, int]:
        """Number of slots in each group that has any."""
        return {group: len(members) for group, members in self._slots.items()}

    @property
    def total(self) -> int:
        """Number of slots in all groups."""
        return len(self._place)

    def __len__(self) -> int:
        """Number of groups that have slots."""
        return len(self._slots)

    def validate_slots(self, size: int) -> bool:
        """Whether the first `size` slots, and no others, are in groups."""
        return self._place.keys() == set(range(size))

    def state_dict(self) -> dict[int, list[int]]:
        """The slots of each group, in their order, which draws depend on."""
        return {group: list(members) for group, members in self._slots.items()}

    def load_state_dict(self, state: dict[int, list[int]]) -> None:
        """Put the slots into the groups of a state, and forget all groups before."""
        self._slots, self._place = {}, {}
        for group, members in state.items():
            self.assign(members, [group] * len(members))
