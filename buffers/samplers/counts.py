"""Counts of rows on several workers, the draws from them, and water filling: draws shared evenly among groups."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor


class GroupCounts(NamedTuple):
    """The number of rows of each worker and group; the sampler defines the groups, such as classes.

    Attributes:
        groups: Ids of the groups (G,), int64, ascending.
        counts: Rows of each worker and group (N, G), int64.
        current: The task that each worker trains (N,), int64; -1 if none is known.
    """

    groups: Tensor
    counts: Tensor
    current: Tensor


class Draws(NamedTuple):
    """The rows that each worker draws.

    The rows of all workers are numbered owner by owner, and group by group within an owner. So the rows of an owner are
    an interval, and a worker only looks up the rows that it draws or owns.

    Attributes:
        drawn: Number of rows that each worker draws (N,), int64.
        rows: Numbers of these rows (D,), int32 or int64: worker after worker, ascending for each.
        groups: Ids of the groups (G,), int64, ascending.
        counts: Rows of each owner and group that are numbered (N, G), int64.
    """

    drawn: Tensor
    rows: Tensor
    groups: Tensor
    counts: Tensor


def water_level(sizes: Sequence[int], n: int) -> tuple[int, int]:
    """The number of draws that `water_fill` gives to every group with enough rows.

    Args:
        sizes: Rows of each group.
        n: Draws, at most as many as there are rows.

    Returns:
        That number, and the number of larger groups that give one draw more.

    Examples:
        >>> water_level([1, 9, 9], 6)
        (2, 1)
    """
    for i, size in enumerate(sorted(sizes)):
        level, rest = divmod(n, len(sizes) - i)
        if size > level:
            return level, rest
        n -= size
    return max(sizes, default=0), 0


def water_fill(sizes: Mapping[int, int], n: int, order: Sequence[int]) -> dict[int, int]:
    """Share `n` draws among groups as evenly as their sizes allow.

    Args:
        sizes: Rows of each group.
        n: Draws, at most as many as there are rows.
        order: The groups; the first ones get one draw more if the number of draws is not divisible.

    Returns:
        Draws from each group. Two groups differ by at most one draw, unless the smaller one has no more rows.

    Examples:
        >>> water_fill({0: 1, 1: 9, 2: 9}, 6, order=[2, 1, 0])
        {0: 1, 2: 3, 1: 2}
    """
    shares: dict[int, int] = {}
    groups = list(order)
    while groups:
        part, rest = divmod(n, len(groups))
        exhausted = [group for group in groups if sizes[group] <= part]
        if not exhausted:
            return shares | {group: part + (i < rest) for i, group in enumerate(groups)}
        shares |= {group: sizes[group] for group in exhausted}
        n -= sum(sizes[group] for group in exhausted)
        groups = [group for group in groups if sizes[group] > part]
    return shares
