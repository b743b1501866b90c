"""Every class, or every task, equally often."""

from typing import Any, ClassVar

from torch import Tensor

from redwood.buffers.groups import Groups
from redwood.buffers.randomness import CounterRandom, choose, integers
from redwood.buffers.samplers.base import Rate, Sampler
from redwood.buffers.samplers.inventory import Draws, Inventory
from redwood.buffers.samplers.shares import fair_shares
from redwood.buffers.samplers.union import plan_balanced


class _Balanced(Sampler):
    shared: ClassVar[bool] = True

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

    def inventory(self, size: int) -> dict[int, int]:
        """Rows of each group that has any."""
        return self.groups.sizes()

    def locate(self, groups: list[int] | Tensor, numbers: Tensor) -> Tensor:
        """Rows are numbered in the order in which `Groups` lists the slots of a group."""
        ids = groups.tolist() if isinstance(groups, Tensor) else groups
        return integers([self.groups.slots(i)[number] for i, number in zip(ids, numbers.tolist(), strict=True)])

    @classmethod
    def plan(cls, random: CounterRandom, step: int, n: int, inventory: Inventory) -> Draws:
        """As many rows of each group, over all workers, as it has its share of."""
        return plan_balanced(random, step, n, inventory)

    def covers(self, size: int) -> bool:
        """Whether each of the slots is in one group."""
        return self.groups.covers(size)

    def _groups_of_all(self) -> Tensor:
        """The group of each row, in the order of the slots."""
        return integers([self.groups.group_of(slot) for slot in range(self.groups.total)])

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

    def recall(self) -> dict[str, Tensor]:
        """The classes."""
        return {"labels": self._groups_of_all()}


class TaskBalanced(_Balanced):
    """Draw as many rows of each task."""

    needs: ClassVar[frozenset[str]] = frozenset({"tasks"})

    def placed(self, slots: Tensor, labels: Tensor | None, tasks: Tensor | None) -> None:
        """Take note of the tasks."""
        assert tasks is not None
        self.groups.assign(slots.tolist(), tasks.tolist())

    def recall(self) -> dict[str, Tensor]:
        """The tasks."""
        return {"tasks": self._groups_of_all()}
