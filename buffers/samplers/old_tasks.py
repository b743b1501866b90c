"""Rows of earlier tasks only."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, Self

import torch
from torch import Tensor

from redwood.buffers.randomness import CounterRandom, integers
from redwood.buffers.samplers.balanced import TaskBalanced
from redwood.buffers.samplers.base import Rate
from redwood.buffers.samplers.inventory import Draws, Inventory
from redwood.buffers.samplers.union import plan_old


class OldTasks(TaskBalanced):
    """Draw uniformly over the rows of all tasks but the one that the latest sample came from."""

    def bind(self, seed: int) -> None:
        """Start with no row."""
        super().bind(seed)
        self._current: int | None = None

    def came(self, tasks: Tensor | None) -> None:
        """The last of these samples tells the current task."""
        assert tasks is not None
        if len(tasks):
            self._current = int(tasks[-1])

    def draw(self, n: int, step: int, size: int, rate: Rate | None = None) -> Tensor:
        """Uniform over old rows, without replacement; none while there is only one task."""
        sizes = {task: size for task, size in self.groups.sizes().items() if task != self._current}
        ends = list(accumulate(sizes.values()))
        total = ends[-1] if ends else 0
        if total == 0:
            return torch.empty(0, dtype=torch.int64)
        names, chosen = list(sizes), []
        for number in self.random.distinct(step, min(n, total), total).tolist():
            index = bisect_right(ends, number)
            chosen.append(self.groups.slots(names[index])[number - ends[index]])
        return integers(chosen)

    def resume(self, slots: Tensor, told: Mapping[str, Tensor], others: Sequence[Self]) -> None:
        """The current task stays the one that it was on the first worker that knows one."""
        super().resume(slots, told, others)
        self._current = next((other._current for other in others if other._current is not None), None)

    @property
    def current(self) -> int:
        """The task that the latest sample came from; -1 before the first one."""
        return -1 if self._current is None else self._current

    @classmethod
    def plan(cls, random: CounterRandom, step: int, n: int, inventory: Inventory) -> Draws:
        """Uniform over the rows of all workers but those of the drawing worker's current task."""
        return plan_old(random, step, n, inventory)

    def state_dict(self) -> dict[str, Any]:
        """The current task, too."""
        return super().state_dict() | {"current": self._current}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        super().load_state_dict(state)
        self._current = state["current"]
