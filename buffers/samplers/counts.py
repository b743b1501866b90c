"""What several workers store, and who of them draws which rows of it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor


class GroupCounts(NamedTuple):
    """What all workers store: rows of each group, a group being what a sampler tells apart.

    Attributes:
        groups: Ids of the groups (G,), int64, ascending.
        counts: Rows of each worker and group (N, G), int64.
        current: The task that each worker trains (N,), int64; -1 if none is known.
    """

    groups: Tensor
    counts: Tensor
    current: Tensor


class Draws(NamedTuple):
    """Which rows each worker draws.

    The rows of all workers are numbered owner by owner, and group by group within an owner. So the rows of an owner are
    an interval, and only those that concern a worker have to be looked up.

    Attributes:
        drawn: How many rows each worker draws (N,), int64.
        rows: Their numbers (D,), int32 or int64: worker after worker, ascending for each.
        groups: Ids of the groups (G,), int64, ascending.
        counts: Rows of each owner and group that are numbered (N, G), int64.
    """

    drawn: Tensor
    rows: Tensor
    groups: Tensor
    counts: Tensor


def water_level(sizes: Sequence[int], n: int) -> tuple[int, int]:
    """How many draws `water_fill` gives to every group that has so many rows.

    Args:
        sizes: Rows of each group.
        n: Draws, at most as many as there are rows.

    Returns:
        That number, and how many of the groups with more rows give one more.

    Example:
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
    """Share out `n` draws over groups as evenly as their sizes allow.

    Args:
        sizes: Rows of each group.
        n: Draws, at most as many as there are rows.
        order: The groups, those first that get one more if the draws do not divide.

    Returns:
        Draws from each group: none has two fewer than another one unless it has no more rows.

    Example:
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
