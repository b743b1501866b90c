"""Samplers that draw every class, or every task, equally often."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import ClassVar, Self

import torch
from torch import Tensor
from typing_extensions import override

from redwood.buffers.randomness import CounterRandom, choose, integers
from redwood.buffers.samplers.base import Rate, Sampler
from redwood.buffers.samplers.counts import Draws, GroupCounts, water_fill
from redwood.buffers.samplers.exchange_plan import ExchangePlan
from redwood.buffers.samplers.global_sampling import part_balanced, part_old, plan_balanced, plan_old
from redwood.buffers.slot_groups import Groups
from redwood.core.state import State


class _Balanced(Sampler):
    shared: ClassVar[bool] = True

    @override
    def bind(self, seed: int) -> None:
        super().bind(seed)
        self.groups = Groups()

    @override
    def draw(self, n: int, step: int, size: int, rate: Rate | None = None) -> Tensor:
        """Equally many rows of each group, as far as it has them; within a group uniform without replacement."""
        n, sizes = min(n, size), self.groups.sizes()
        draws = self.random.uniforms(step, n + len(sizes))
        shares = water_fill(sizes, n, choose(sorted(sizes), draws[n:]))
        chosen: list[int] = []
        for group, share in shares.items():
            numbers = choose(range(sizes[group]), draws[len(chosen) : len(chosen) + share])
            chosen += [self.groups.slot(group, number) for number in numbers]
        return integers(chosen)

    @override
    def group_counts(self, size: int) -> dict[int, int]:
        """Rows of each group that has any."""
        return self.groups.sizes()

    @override
    def locate(self, groups: list[int] | Tensor, numbers: Tensor) -> Tensor:
        """Rows are numbered in the order in which `Groups` lists the slots of a group."""
        return self.groups.locate(groups, numbers)

    @classmethod
    @override
    def plan(cls, random: CounterRandom, step: int, n: int, group_counts: GroupCounts) -> Draws:
        """Equally many rows of each group over all workers, as far as the group has them."""
        return plan_balanced(random, step, n, group_counts)

    @classmethod
    @override
    def part(cls, random: CounterRandom, step: int, n: int, group_counts: GroupCounts, rank: int) -> ExchangePlan:
        return part_balanced(random, step, n, group_counts, rank)

    @override
    def validate_slots(self, size: int) -> bool:
        return self.groups.validate_slots(size)

    @override
    def state_dict(self) -> State:
        return {"groups": self.groups.state_dict()}

    @override
    def load_state_dict(self, state: State) -> None:
        self.groups = Groups.restored(state["groups"])


class ClassBalanced(_Balanced):
    """Draw equally many rows of each class."""

    needs: ClassVar[frozenset[str]] = frozenset({"labels"})

    @override
    def bind(self, seed: int) -> None:
        super().bind(seed)
        self._is_shared = False  # whether the policy keeps account of classes

    @override
    def use_classes(self, classes: Groups) -> None:
        self.groups, self._is_shared = classes, True

    @override
    def on_stored(self, slots: Tensor, labels: Tensor | None, tasks: Tensor | None) -> None:
        assert labels is not None
        if not self._is_shared:
            self.groups.assign(slots, labels)

    @override
    def slot_metadata(self) -> dict[str, Tensor]:
        return {"labels": self.groups.of_all()}

    @override
    def state_dict(self) -> State:
        return {} if self._is_shared else super().state_dict()

    @override
    def load_state_dict(self, state: State) -> None:
        if not self._is_shared:
            super().load_state_dict(state)


class TaskBalanced(_Balanced):
    """Draw equally many rows of each task."""

    needs: ClassVar[frozenset[str]] = frozenset({"tasks"})

    @override
    def on_stored(self, slots: Tensor, labels: Tensor | None, tasks: Tensor | None) -> None:
        assert tasks is not None
        self.groups.assign(slots, tasks)

    @override
    def slot_metadata(self) -> dict[str, Tensor]:
        return {"tasks": self.groups.of_all()}


class OldTasks(TaskBalanced):
    """Draw uniformly over the rows of all tasks but the task of the latest sample."""

    @override
    def bind(self, seed: int) -> None:
        super().bind(seed)
        self._current: int | None = None

    @override
    def on_incoming(self, tasks: Tensor | None) -> None:
        """The task of the last sample is the current one."""
        assert tasks is not None
        if len(tasks):
            self._current = int(tasks[-1])

    @override
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
            chosen.append(self.groups.slot(names[index], sizes[names[index]] + number - ends[index]))
        return integers(chosen)

    @override
    def resume(self, slots: Tensor, metadata: Mapping[str, Tensor], others: Sequence[Self]) -> None:
        """The current task is that of the first worker that knows one."""
        super().resume(slots, metadata, others)
        self._current = next((other._current for other in others if other._current is not None), None)

    @property
    @override
    def current(self) -> int:
        return -1 if self._current is None else self._current

    @classmethod
    @override
    def plan(cls, random: CounterRandom, step: int, n: int, group_counts: GroupCounts) -> Draws:
        """Uniform over the rows of all workers but those of the drawing worker's current task."""
        return plan_old(random, step, n, group_counts)

    @classmethod
    @override
    def part(cls, random: CounterRandom, step: int, n: int, group_counts: GroupCounts, rank: int) -> ExchangePlan:
        return part_old(random, step, n, group_counts, rank)

    @override
    def state_dict(self) -> State:
        return super().state_dict() | {"current": self._current}

    @override
    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        self._current = state["current"]
