"""Draws from the rows of all workers; each worker computes the same plan."""

import numpy as np
import torch

from redwood.buffers.randomness import Array, CounterRandom, intervals
from redwood.buffers.samplers.counts import Draws, GroupCounts, water_level
from redwood.buffers.samplers.random_subsets import StepNumbers, equal_subsets, unequal_subsets


def plan_uniform(random: CounterRandom, step: int, n: int, group_counts: GroupCounts) -> Draws:
    """For each worker min(n, M) distinct rows of all M rows; every choice is equally likely."""
    counts = group_counts.counts.numpy()
    all_workers = np.arange(len(counts))
    return _draws(group_counts, counts, _pool(StepNumbers(random, step), all_workers, n, counts))


def plan_old(random: CounterRandom, step: int, n: int, group_counts: GroupCounts) -> Draws:
    """Like `plan_uniform`, for each worker from the rows of all groups but its current one."""
    numbers = StepNumbers(random, step)
    groups, counts, current = (tensor.numpy() for tensor in group_counts)
    all_workers, drawn, keys = np.arange(len(counts)), np.zeros(len(counts), dtype=np.int64), []
    if bool((current == current[0]).all()):
        old = counts * (groups != current[0])
        return _draws(group_counts, old, _pool(numbers, all_workers, n, old))
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
    numbers, counts = StepNumbers(random, step), group_counts.counts.numpy()
    all_workers, sizes = np.arange(len(counts)), counts.sum(0)
    total = int(sizes.sum())
    n = min(n, total)
    level, rest = water_level(sizes.tolist(), n)
    shares = sizes.clip(max=level) + np.zeros_like(counts)
    if rest:
        larger = np.flatnonzero(sizes > level)
        more = equal_subsets(numbers, all_workers, rest, len(larger), first=n)
        shares[all_workers[:, None], larger[more]] += 1
    # Rows are numbered group by group here, and worker w has those from w * total on.
    shares = shares.reshape(-1)
    has = np.flatnonzero(shares)
    workers = has // max(len(sizes), 1)
    groups = has - workers * len(sizes)
    starts = workers * total + _starts(sizes)[groups]
    keys = unequal_subsets(numbers, workers, starts, sizes[groups], shares[has])
    shifts = _starts(counts.reshape(-1)).reshape(counts.shape).T.reshape(-1)
    keys += _shifts(keys % max(total, 1), counts.T.reshape(-1), shifts)
    keys.sort()
    return _draws(group_counts, counts, keys.reshape(len(counts), n) - all_workers[:, None] * total)


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
