"""Rows of a checkpoint for another number of workers: each row is read once, and handed to its new worker."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import ProcessGroup

from redwood.buffers.distributed.checkpoint_files import CheckpointReader
from redwood.buffers.distributed.peers import lost_workers
from redwood.buffers.distributed.resharding import Resharded
from redwood.buffers.distributed.row_chunks import Chunk
from redwood.buffers.layout import WORD
from redwood.core.errors import BufferInputError
from redwood.core.workers import gather_objects

Value = TypeVar("Value")


def deal_rows(
    shards: CheckpointReader,
    chunks: Sequence[Chunk],
    resharded: Resharded,
    words: Tensor,
    rank: int,
    group: ProcessGroup | None,
) -> None:
    """Read the rows of one worker; all workers of a group have to call this.

    Each worker reads consecutive chunks, an equal share of them, one after the other. After each chunk an `all_to_all`
    hands its rows to the workers that get them, which all workers know. Without a group, this worker reads all chunks.

    Args:
        shards: The checkpoint.
        chunks: All chunks of it, in order.
        resharded: This worker's part.
        words: Where its rows go (k, words), in the order of its new slots.
        rank: Number of this worker.
        group: The gloo group of all workers, in the order of their numbers; None: read alone.

    Raises:
        ValueError: If a chunk is damaged, on all workers.
        WorkerLostError: If another worker does not take part.
    """
    # The new slot of each saved row, or -1 if another worker gets it, or this worker's policy has given it up.
    places = torch.full((len(resharded.dealt_to),), -1, dtype=torch.int64)
    places[resharded.rows] = torch.arange(len(resharded.rows))
    if group is None:
        for chunk in chunks:
            positions, numbers = chunk.newest_rows()
            mine = places[numbers]
            if bool((mine >= 0).any()):
                words[mine[mine >= 0]] = _read(shards, chunk)[positions[mine >= 0]]
        return
    world = dist.get_world_size(group)
    bounds = [reader * len(chunks) // world for reader in range(world + 1)]
    shares = [list(chunks[bounds[reader] : bounds[reader + 1]]) for reader in range(world)]
    for turn in range(max(map(len, shares))):
        in_turn = [share[turn] if turn < len(share) else None for share in shares]
        _exchange(shards, in_turn, resharded.dealt_to, places, words, rank, group)


def _exchange(
    shards: CheckpointReader,
    chunks: Sequence[Chunk | None],
    dealt_to: Tensor,
    places: Tensor,
    words: Tensor,
    rank: int,
    group: ProcessGroup,
) -> None:
    """Each worker reads one of these chunks, and all hand the rows to those that get them."""
    own, no_rows = chunks[rank], (torch.empty(0, dtype=torch.int64),) * 2
    newest = [no_rows if chunk is None else chunk.newest_rows() for chunk in chunks]
    positions, receivers = newest[rank][0], dealt_to[newest[rank][1]]
    wanted = [places[numbers[dealt_to[numbers] == rank]] for _, numbers in newest]
    n_received = [len(some) for some in wanted]

    def prepare() -> tuple[Tensor, Tensor]:
        """Allocate the rows to send and the room for the rows to receive: all large allocations, and any may fail."""
        rows = torch.empty(0, words.shape[1], dtype=WORD) if own is None else _read(shards, own)
        sent = rows[positions[receivers.argsort(stable=True)]]
        return sent, torch.empty(sum(n_received), words.shape[1], dtype=WORD)

    sent, received = all_or_none(prepare, group)
    n_sent = receivers.long().bincount(minlength=len(chunks)).tolist()
    with lost_workers():
        # As integers: no backend knows complex numbers everywhere.
        dist.all_to_all_single(received.view(torch.int64), sent.view(torch.int64), n_received, n_sent, group=group)
    slots = torch.cat(wanted)
    words[slots[slots >= 0]] = received[slots >= 0]


def _read(shards: CheckpointReader, chunk: Chunk) -> Tensor:
    return shards.read(chunk.name).view(WORD)


def all_or_none(work: Callable[[], Value], group: ProcessGroup | None) -> Value:
    """The result of a piece of work, once all workers of a group (None: this one alone) have done theirs.

    Raises:
        ValueError: If the work of one of them fails, on all of them: nobody may wait for a worker that has ended.
    """
    if group is None:
        return work()
    try:
        value = work()
    except Exception as error:
        with lost_workers():
            gather_objects(str(error), group)
        raise
    with lost_workers():
        failures = [failure for failure in gather_objects(None, group) if failure is not None]
    if failures:
        raise BufferInputError(failures[0])
    return value
