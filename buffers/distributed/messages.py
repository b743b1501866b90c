"""The two exchanges of a step as messages between pairs of workers, for when there are many of them.

gloo's `all_gather` is a ring, in which N - 1 messages wait for each other, and its `all_to_all` sends every worker a
message, however empty.
"""

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import ProcessGroup


def gather_in_rounds(ticket: Tensor, rank: int, world: int, group: ProcessGroup) -> Tensor:
    """The tickets (W,) of all workers: (N, W), after ceil(log2 N) rounds (Bruck et al., 1997).

    In each round a worker passes on what it has heard so far, and so hears twice as much.
    """
    tickets, distance = ticket[None], 1  # of this worker and those that follow it
    while distance < world:
        n = min(distance, world - distance)
        heard = ticket.new_empty(n, len(ticket))
        _wait(
            [
                dist.irecv(heard, group=group, group_src=(rank + distance) % world),
                dist.isend(tickets[:n].contiguous(), group=group, group_dst=(rank - distance) % world),
            ]
        )
        tickets, distance = torch.cat([tickets, heard]), 2 * distance
    return tickets.roll(rank, 0)


def exchange_in_pairs(
    received: Tensor, sent: Tensor, received_splits: list[int], sent_splits: list[int], group: ProcessGroup
) -> None:
    """Send rows (m, ...) to the workers that they are for, and receive rows (n, ...); see `Peers.exchange`.

    Both sides of a pair know that there are none, so that no message is needed then.
    """
    under_way = [
        dist.irecv(rows, group=group, group_src=peer)
        for peer, rows in enumerate(received.split(received_splits))
        if len(rows)
    ]
    under_way += [
        dist.isend(rows, group=group, group_dst=peer) for peer, rows in enumerate(sent.split(sent_splits)) if len(rows)
    ]
    _wait(under_way)


def _wait(under_way: list[dist.Work | None]) -> None:
    for work in under_way:
        assert work is not None
        work.wait()
