"""The latest samples of each class."""

from collections import OrderedDict
from typing import Any

from redwood.buffers.policies.class_quota import ClassQuota


class Ring(ClassQuota):
    """First in, first out, for each class (the ring buffer of Chaudhry et al., 2019, "On Tiny Episodic Memories").

    With one label for all it holds the latest samples of the stream.
    """

    def bind(self, capacity: int, seed: int) -> None:
        """Start with no sample."""
        super().bind(capacity, seed)
        self._queues: dict[int, OrderedDict[int, None]] = {}  # the slots of each class, oldest first

    def chance(self, arrival: Any, kept: Any, n: int) -> Any:
        """Always."""
        return 1.0

    def gives_way(self, group: int, draw: float) -> int:
        """The oldest one."""
        return next(iter(self._queues[group]))

    def put(self, slot: int, group: int) -> None:
        """The slot goes to the end of its class's queue."""
        if slot < self.groups.total:
            del self._queues[self.groups.group_of(slot)][slot]
        self._queues.setdefault(group, OrderedDict())[slot] = None
        super().put(slot, group)

    def covers(self, size: int) -> bool:
        """Whether each of the slots is in one queue, too."""
        queued = sorted(slot for queue in self._queues.values() for slot in queue)
        return super().covers(size) and queued == list(range(size))

    def state_dict(self) -> dict[str, Any]:
        """The queues, too."""
        return super().state_dict() | {"queues": {group: list(queue) for group, queue in self._queues.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        super().load_state_dict(state)
        self._queues = {group: OrderedDict.fromkeys(slots) for group, slots in state["queues"].items()}
