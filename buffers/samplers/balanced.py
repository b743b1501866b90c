"""Every class, or every task, equally often."""

from typing import Any, ClassVar

from torch import Tensor

from redwood.buffers.groups import Groups
from redwood.buffers.randomness import choose, integers
from redwood.buffers.samplers.base import Rate, Sampler
from redwood.buffers.samplers.shares import fair_shares


class _Balanced(Sampler):
    def bind(self, seed: int) -> None:
        """Start with no row."""
        super().bind(seed)
        self.groups = Groups()

    def draw(self, n: int, step: int, size: int, rate: Rate | None = None) -> Tensor:
        """As many rows of each group as it has its share of; within a group uniform without replacement."""
        n, sizes = min(n, size), self.groups.sizes()
        draws = self.random.uniforms(step, n + len(sizes))
        shares = fair_shares(sizes, n, choose(sorted(sizes), draws[n:]))
        chosen: list[int] = []
        for group, share in shares.items():
            chosen += choose(self.groups.slots(group), draws[len(chosen) : len(chosen) + share])
        return integers(chosen)

    def covers(self, size: int) -> bool:
        """Whether each of the slots is in one group."""
        return self.groups.covers(size)

    def state_dict(self) -> dict[str, Any]:
        """The rows of each group, in their order."""
        return {"groups": self.groups.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.groups.load_state_dict(state["groups"])


class ClassBalanced(_Balanced):
    """Draw as many rows of each class."""

    needs: ClassVar[frozenset[str]] = frozenset({"labels"})

    def placed(self, slots: Tensor, labels: Tensor | None, tasks: Tensor | None) -> None:
        """Take note of the classes."""
        assert labels is not None
        self.groups.assign(slots.tolist(), labels.tolist())


class TaskBalanced(_Balanced):
    """Draw as many rows of each task."""

    needs: ClassVar[frozenset[str]] = frozenset({"tasks"})

    def placed(self, slots: Tensor, labels: Tensor | None, tasks: Tensor | None) -> None:
        """Take note of the tasks."""
        assert tasks is not None
        self.groups.assign(slots.tolist(), tasks.tolist())
