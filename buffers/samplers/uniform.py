"""Uniform sampling: every stored row equally often."""

from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from redwood.buffers.randomness import CounterRandom
from redwood.buffers.samplers.base import Rate, Sampler
from redwood.buffers.samplers.counts import Draws, GroupCounts
from redwood.buffers.samplers.exchange_plan import ExchangePlan
from redwood.buffers.samplers.global_sampling import part_uniform, plan_uniform


class Uniform(Sampler):
    """Draw uniformly over rows."""

    shared: ClassVar[bool] = True

    @override
    def draw(self, n: int, step: int, size: int, rate: Rate | None = None) -> Tensor:
        """Uniform over rows, without replacement."""
        return self.random.distinct(step, min(n, size), size)

    @override
    def group_counts(self, size: int) -> dict[int, int]:
        return {0: size}

    @override
    def locate(self, groups: list[int] | Tensor, numbers: Tensor) -> Tensor:
        return numbers

    @classmethod
    @override
    def plan(cls, random: CounterRandom, step: int, n: int, group_counts: GroupCounts) -> Draws:
        """Uniform over the rows of all workers."""
        return plan_uniform(random, step, n, group_counts)

    @classmethod
    @override
    def part(cls, random: CounterRandom, step: int, n: int, group_counts: GroupCounts, rank: int) -> ExchangePlan:
        return part_uniform(random, step, n, group_counts, rank)
