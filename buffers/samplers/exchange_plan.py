"""One worker's part of the plan of a draw: the rows that it sends, receives, and takes from its own buffer."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from redwood.buffers.randomness import Array, intervals
from redwood.buffers.samplers.counts import Draws


class ExchangePlan(NamedTuple):
    """The rows that one worker sends, receives, and takes from its own buffer.

    Attributes:
        send_groups: Group ids of the rows to send (S,), int64, ordered by the worker that receives them.
        send_numbers: Their numbers (S,), int64, within these groups.
        send_splits: How many go to each of N workers; 0 for this one.
        recv_splits: How many come from each of N workers; 0 for this one.
        own_groups: Group ids of the rows (O,), int64, that this worker draws from its own buffer.
        own_numbers: Their numbers (O,), int64, within these groups.
        drawn: Total number of rows that each worker draws (N,), int64.
    """

    send_groups: Tensor
    send_numbers: Tensor
    send_splits: list[int]
    recv_splits: list[int]
    own_groups: Tensor
    own_numbers: Tensor
    drawn: Tensor


def exchange_plan(draws: Draws, rank: int, world: int) -> ExchangePlan:
    """The part of worker `rank` out of `world`; the parts of all workers fit together.

    Examples:
        >>> import torch
        >>> draws = Draws(torch.tensor([1, 2]), torch.tensor([4, 0, 3]), torch.tensor([7]), torch.tensor([[3], [2]]))
        >>> plan = exchange_plan(draws, 1, 2)
        >>> plan.send_numbers.tolist(), plan.send_splits, plan.recv_splits, plan.own_numbers.tolist()
        ([1], [1, 0], [1, 0], [0])
    """
    rows, counts, groups = draws.rows.numpy(), draws.counts.numpy(), draws.groups.numpy()
    owned, drawn = counts.sum(1).cumsum(0), draws.drawn.numpy().cumsum(0)
    low, start = (int(ends[rank - 1]) if rank else 0 for ends in (owned, drawn))
    asked = np.flatnonzero((rows >= low) & (rows < int(owned[rank])))
    return part_of(
        groups,
        counts[rank],
        rank,
        drawers=_shares(asked, drawn),
        places=rows[asked].astype(np.int64) - low,
        owners=_shares(rows[start : int(drawn[rank])].astype(np.int64), owned),
        drawn=draws.drawn,
    )


def part_of(
    groups: Array, counts: Array, rank: int, *, drawers: Array, places: Array, owners: Array, drawn: Tensor
) -> ExchangePlan:
    """The part of a worker that knows which of its rows are drawn, and from whom it draws.

    Args:
        groups: Ids of the groups (G,).
        counts: Rows of this worker in each group (G,); it numbers its rows group by group.
        rank: Number of this worker.
        drawers: How many of its rows each worker draws (N,).
        places: Numbers of these rows, int64, ordered by the worker that draws them.
        owners: How many rows this worker draws from each worker (N,).
        drawn: Total number of rows that each worker draws (N,).
    """
    sends, recvs = drawers.tolist(), owners.tolist()
    # The rows that this worker draws from itself are a run among those that it is asked for.
    begin = int(drawers[:rank].sum())
    end = begin + sends[rank]
    sends[rank] = recvs[rank] = 0
    ends = counts.cumsum()
    cells = intervals(places, ends)
    ids, numbers = groups[cells], places - (ends - counts)[cells]
    return ExchangePlan(
        torch.from_numpy(np.concatenate([ids[:begin], ids[end:]])),
        torch.from_numpy(np.concatenate([numbers[:begin], numbers[end:]])),
        sends,
        recvs,
        torch.from_numpy(ids[begin:end]),
        torch.from_numpy(numbers[begin:end]),
        drawn,
    )


def _shares(values: Array, ends: Array) -> Array:
    """The number of integers (m,) in each of consecutive intervals with these ends (N,)."""
    counts: Array = np.bincount(intervals(values, ends), minlength=len(ends))
    return counts
