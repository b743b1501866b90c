"""Workers that store rows of some groups, all of them in one process, and what they draw."""

from typing import NamedTuple

import torch
from torch import Tensor

from redwood.buffers import Sampler
from redwood.buffers.randomness import CounterRandom
from redwood.buffers.samplers.counts import Draws as Planned
from redwood.buffers.samplers.counts import GroupCounts
from tests.buffers.distributed.checks import Draws


class Rows(NamedTuple):
    """All rows (M,), owner by owner and group by group.

    Attributes:
        owner: The worker that stores each row.
        group: The index of its group.
        number: Its number among the owner's rows of that group.
    """

    owner: Tensor
    group: Tensor
    number: Tensor


def group_counts_of(counts: list[list[int]], current: int | list[int] = -1) -> GroupCounts:
    """Workers with these numbers of rows of each group (N, G); the ids of the groups are 10, 11, ..."""
    tasks = [current] * len(counts) if isinstance(current, int) else current
    table = torch.tensor(counts, dtype=torch.int64).view(len(counts), -1)
    return GroupCounts(torch.arange(table.shape[1]) + 10, table, torch.tensor(tasks))


def rows_of(counts: Tensor) -> Rows:
    """All rows, given how many there are of each worker and group (N, G)."""
    cells = [(i, j, k) for i, sizes in enumerate(counts.tolist()) for j, size in enumerate(sizes) for k in range(size)]
    return Rows(*torch.tensor(cells, dtype=torch.int64).view(-1, 3).unbind(1))


def planned(
    sampler: type[Sampler], group_counts: GroupCounts, n: int, n_steps: int, seed: int = 0, start: int = 0
) -> list[Planned]:
    """The plans of some steps, which keep all rules that every plan has to keep."""
    random = CounterRandom(seed, "test")
    plans = [sampler.plan(random, start + step, n, group_counts) for step in range(n_steps)]
    for plan in plans:
        assert plan.drawn.shape == (len(group_counts.counts),)
        assert len(plan.rows) == int(plan.drawn.sum())
        for rows in plan.rows.split(plan.drawn.tolist()):
            assert (rows[1:] > rows[:-1]).all()
            assert not len(rows) or 0 <= int(rows[0]) <= int(rows[-1]) < int(plan.counts.sum())
    return plans


def drawn(sampler: type[Sampler], group_counts: GroupCounts, n: int, n_steps: int, seed: int = 0) -> Draws:
    """Draws of all workers, who get as many rows each; labels are the groups."""
    plans = planned(sampler, group_counts, n, n_steps, seed)
    ids = torch.stack([plan.rows.long().view(len(plan.drawn), -1) for plan in plans], 1)
    owner, group, _ = rows_of(plans[0].counts)
    return Draws(ids, owner, group)
