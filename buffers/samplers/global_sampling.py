"""Draws from the rows of all workers; each worker computes the same plan."""

import numpy as np
import torch

from redwood.buffers.randomness import Array, CounterRandom, intervals
from redwood.buffers.samplers.counts import Draws, GroupCounts, water_level
from redwood.buffers.samplers.exchange_plan import ExchangePlan, exchange_plan, part_of
from redwood.buffers.samplers.keyed_permutation import KeyedPermutation
from redwood.buffers.samplers.random_subsets import StepNumbers, disjoint_subsets, equal_subsets, unequal_subsets

# Up to as many rows drawn in a step by all workers, each worker plans all draws; beyond, its own part alone.
FEW = 1024


def plan_uniform(random: CounterRandom, step: int, n: int, group_counts: GroupCounts) -> Draws:
    """For each worker min(n, M) distinct rows of all M rows; every choice is equally likely.

    If N workers draw at most M rows together, no two of them draw the same row: the N n rows are one ordered subset of
    all rows, every one equally likely, cut into parts. Otherwise workers draw independently. Disjoint draws of more
    than `FEW` rows together are only pseudo-random: a keyed permutation has fewer keys than there are
    choices.
    """
    counts = group_counts.counts.numpy()
    return _draws(group_counts, counts, _shared_pool(StepNumbers(random, step), n, counts))


def part_uniform(random: CounterRandom, step: int, n: int, group_counts: GroupCounts, rank: int) -> ExchangePlan:
    """One worker's part of `plan_uniform`, in O(min(rows of the worker, N n) + sqrt(M)) for M rows of N workers."""
    counts = group_counts.counts.numpy()
    return _part(random, step, n, group_counts, counts, rank) or exchange_plan(
        plan_uniform(random, step, n, group_counts), rank, len(counts)
    )


def part_old(random: CounterRandom, step: int, n: int, group_counts: GroupCounts, rank: int) -> ExchangePlan:
    """The same of `plan_old`, if all workers train the same task."""
    groups, counts, current = (tensor.numpy() for tensor in group_counts)
    part = None
    if bool((current == current[0]).all()):
        part = _part(random, step, n, group_counts, counts * (groups != current[0]), rank)
    return part or exchange_plan(plan_old(random, step, n, group_counts), rank, len(counts))


def _part(
    random: CounterRandom, step: int, n: int, group_counts: GroupCounts, counts: Array, rank: int
) -> ExchangePlan | None:
    """One worker's part of draws from rows numbered by `counts`, or None if it is better to plan all draws."""
    world = len(counts)
    if world * n <= FEW:
        return None
    sizes = counts.sum(1)
    ends = sizes.cumsum()
    n_drawn, total = world * n, int(ends[-1])
    if not _is_permuted(world, n, total) or sizes[rank] > n_drawn:
        return None
    permutation = KeyedPermutation(StepNumbers(random, step), total)
    rows = permutation.of(np.arange(rank * n, rank * n + n))
    low = int(ends[rank] - sizes[rank])
    drawn_as = permutation.inverse(np.arange(low, int(ends[rank])))
    places = np.flatnonzero(drawn_as < n_drawn)
    drawers = drawn_as[places] // n
    order = drawers.argsort(kind="stable")
    return part_of(
        group_counts.groups.numpy(),
        counts[rank],
        rank,
        drawers=np.bincount(drawers, minlength=world),
        places=places[order],
        owners=np.bincount(intervals(rows, ends), minlength=world),
        drawn=torch.full((world,), n),
    )


def _is_permuted(world: int, n: int, total: int) -> bool:
    return FEW < world * n <= total and world > 1


def plan_old(random: CounterRandom, step: int, n: int, group_counts: GroupCounts) -> Draws:
    """Like `plan_uniform`, for each worker from the rows of all groups but its current one."""
    numbers = StepNumbers(random, step)
    groups, counts, current = (tensor.numpy() for tensor in group_counts)
    all_workers, drawn, keys = np.arange(len(counts)), np.zeros(len(counts), dtype=np.int64), []
    if bool((current == current[0]).all()):
        old = counts * (groups != current[0])
        return _draws(group_counts, old, _shared_pool(numbers, n, old))
    # Workers train different tasks: a key for each row drawn puts them in the order of the workers.
    total = int(counts.sum())
    for task in np.unique(current).tolist():
        old, workers = counts * (groups != task), all_workers[current == task]
        rows = _pool(numbers, workers, n, old)
        drawn[workers] = rows.shape[1]
        shifts = _shifts(rows, old.reshape(-1), _starts(counts.reshape(-1)))
        keys.append((rows + shifts + workers[:, None] * total).reshape(-1))
    key = np.concatenate(keys)[None]
    key.sort(axis=1)
    rows = key[0] - np.repeat(all_workers * total, drawn)
    return Draws(torch.from_numpy(drawn), torch.from_numpy(rows), group_counts.groups, group_counts.counts)


def plan_balanced(random: CounterRandom, step: int, n: int, group_counts: GroupCounts) -> Draws:
    """For each worker min(n, M) distinct rows, as evenly from all groups as their sizes allow.

    The groups that give one row more, see `water_fill`, are drawn for each worker; within a group every choice is
    equally likely.
    """
    counts = group_counts.counts.numpy()
    sizes = counts.sum(0)
    rows = _balanced_rows(StepNumbers(random, step), n, sizes, len(counts))
    rows += _shifts(rows, counts.T.reshape(-1), _starts(counts.reshape(-1)).reshape(counts.shape).T.reshape(-1))
    rows.sort(axis=1)
    return _draws(group_counts, counts, rows)


def part_balanced(random: CounterRandom, step: int, n: int, group_counts: GroupCounts, rank: int) -> ExchangePlan:
    """One worker's part of `plan_balanced`, which finds the owners of no rows but those that it draws."""
    counts = group_counts.counts.numpy()
    sizes = counts.sum(0)
    world, total = len(counts), int(sizes.sum())
    if world * n <= FEW or not total:
        return exchange_plan(plan_balanced(random, step, n, group_counts), rank, world)
    rows = _balanced_rows(StepNumbers(random, step), n, sizes, world).reshape(-1)
    drawers = np.arange(world).repeat(min(n, total))
    groups = intervals(rows, sizes.cumsum())
    numbers = rows - _starts(sizes)[groups]
    # Of each group, an owner has consecutive rows.
    places = numbers - counts[:rank].sum(0)[groups]
    asked = np.flatnonzero((places >= 0) & (places < counts[rank][groups]))
    drawn = slice(rank * min(n, total), (rank + 1) * min(n, total))
    owners = (counts[:, groups[drawn]].cumsum(0) <= numbers[drawn]).sum(0)
    return part_of(
        group_counts.groups.numpy(),
        counts[rank],
        rank,
        drawers=np.bincount(drawers[asked], minlength=world),
        places=places[asked] + _starts(counts[rank])[groups[asked]],
        owners=np.bincount(owners, minlength=world),
        drawn=torch.full((world,), min(n, total)),
    )


def _balanced_rows(numbers: StepNumbers, n: int, sizes: Array, world: int) -> Array:
    """For each worker min(n, M) rows of groups of these sizes (G,): (N, n), ascending; numbered group by group."""
    all_workers, total = np.arange(world), int(sizes.sum())
    n = min(n, total)
    level, rest = water_level(sizes.tolist(), n)
    larger = np.flatnonzero(sizes > level)
    more = equal_subsets(numbers, all_workers, rest, len(larger), first=n) if rest else np.empty((world, 0), np.int64)
    if level:
        shares = sizes.clip(max=level) + np.zeros((world, 1), dtype=np.int64)
        shares[all_workers[:, None], larger[more]] += 1
        workers, groups = shares.nonzero()
        shares = shares[workers, groups]
    else:  # one row of some groups
        workers, groups = all_workers.repeat(rest), larger[more].reshape(-1)
        shares = np.ones(len(groups), dtype=np.int64)
    # While they are drawn, rows of worker w are numbered from w times their total on.
    rows = unequal_subsets(numbers, workers, workers * total + _starts(sizes)[groups], sizes[groups], shares)
    rows.sort()
    return rows.reshape(world, n) - all_workers[:, None] * total


def _shared_pool(numbers: StepNumbers, n: int, counts: Array) -> Array:
    """For each of all workers at most `n` of all rows: (N, n), ascending; disjoint if there are enough."""
    world, total = len(counts), int(counts.sum())
    if world == 1 or world * n > total:
        return _pool(numbers, np.arange(world), n, counts)
    if not _is_permuted(world, n, total):
        return disjoint_subsets(numbers, world, n, total)
    rows = KeyedPermutation(numbers, total).of(np.arange(world * n)).reshape(world, n)
    rows.sort(axis=1)
    return rows


def _pool(numbers: StepNumbers, workers: Array, n: int, counts: Array) -> Array:
    """For each worker (W,) at most `n` of all rows: (W, n)."""
    total = int(counts.sum())
    return equal_subsets(numbers, workers, min(n, total), total)


def _draws(group_counts: GroupCounts, counts: Array, rows: Array) -> Draws:
    """Draws of equally many rows (N, n) per worker; rows are numbered by `counts`."""
    drawn = torch.full((rows.shape[0],), rows.shape[1])
    return Draws(drawn, torch.from_numpy(rows.reshape(-1)), group_counts.groups, torch.from_numpy(counts))


def _starts(sizes: Array) -> Array:
    """The starts of consecutive intervals of these sizes (C,)."""
    return sizes.cumsum(0) - sizes


def _shifts(rows: Array, sizes: Array, starts: Array) -> Array:
    """Numbers to add to rows (...), numbered by cells of these sizes (C,), if the cells have other starts (C,)."""
    ends: Array = sizes.cumsum(0)
    shifts: Array = (starts - ends + sizes)[intervals(rows, ends)]
    return shifts
