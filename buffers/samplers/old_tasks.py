"""Rows of earlier tasks only."""

from bisect import bisect_right
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from redwood.buffers.randomness import integers
from redwood.buffers.samplers.balanced import TaskBalanced
from redwood.buffers.samplers.base import Rate


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

    def state_dict(self) -> dict[str, Any]:
        """The current task, too."""
        return super().state_dict() | {"current": self._current}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        super().load_state_dict(state)
        self._current = state["current"]
