"""One worker's part of a plan of who draws what."""

from typing import NamedTuple

from torch import Tensor

from redwood.buffers.arrays import Array, indices, intervals, library, to_array, to_tensor, whole
from redwood.buffers.samplers.inventory import Draws


class ExchangePlan(NamedTuple):
    """What one worker sends, gets, and takes from its own buffer.

    Attributes:
        send_groups: Group ids of the rows to send (S,), int64, ordered by the worker that gets them.
        send_numbers: Their numbers (S,), int64, within these groups.
        send_splits: How many go to each of N workers; 0 for this one.
        recv_splits: How many come from each of N workers; 0 for this one.
        own_groups: Group ids of the rows (O,), int64, that this worker draws from its own buffer.
        own_numbers: Their numbers (O,), int64, within these groups.
        drawn: Rows that each worker draws in all (N,), int64.
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

    Example:
        >>> import torch
        >>> draws = Draws(torch.tensor([1, 2]), torch.tensor([4, 0, 3]), torch.tensor([7]), torch.tensor([[3], [2]]))
        >>> plan = exchange_plan(draws, 1, 2)
        >>> plan.send_numbers.tolist(), plan.send_splits, plan.recv_splits, plan.own_numbers.tolist()
        ([1], [1, 0], [1, 0], [0])
    """
    lib, rows = library(), to_array(draws.rows)
    counts, groups = to_array(draws.counts), to_array(draws.groups)
    owned, drawn = counts.sum(1).cumsum(0), to_array(draws.drawn).cumsum(0)
    low, start = (int(ends[rank - 1]) if rank else 0 for ends in (owned, drawn))
    asked = indices((rows >= low) & (rows < int(owned[rank])))
    sends = _shares(asked, drawn)
    recvs = _shares(whole(rows[start : int(drawn[rank])]), owned)
    # This worker's own draws are a run among what it is asked for.
    begin, end = sum(sends[:rank]), sum(sends[: rank + 1])
    sends[rank] = recvs[rank] = 0
    places = whole(rows[asked]) - low
    ends = counts[rank].cumsum(0)
    cells = intervals(places, ends)
    ids, numbers = groups[cells], places - (ends - counts[rank])[cells]
    return ExchangePlan(
        to_tensor(lib.concatenate([ids[:begin], ids[end:]])),
        to_tensor(lib.concatenate([numbers[:begin], numbers[end:]])),
        sends,
        recvs,
        to_tensor(ids[begin:end]),
        to_tensor(numbers[begin:end]),
        draws.drawn,
    )


def _shares(values: Array, ends: Array) -> list[int]:
    """How many of some integers (m,) are in each of consecutive intervals with these ends (N,)."""
    counts: list[int] = library().bincount(intervals(values, ends), minlength=len(ends)).tolist()
    return counts
