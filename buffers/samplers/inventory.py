"""What several workers store, and who of them draws which rows of it."""

from typing import NamedTuple

from torch import Tensor


class Inventory(NamedTuple):
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
