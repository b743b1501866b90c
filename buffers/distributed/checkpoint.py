"""Checkpoints of the buffers of several workers, to be restored on the same or another number of workers."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import ProcessGroup

from redwood.buffers.buffer import RehearsalBuffer
from redwood.buffers.distributed import checkpoint_files
from redwood.buffers.distributed.checkpoint_files import CheckpointReader, is_complete, packed
from redwood.buffers.distributed.resharding import Resharded, reshard
from redwood.buffers.layout import WORD, RowLayout
from redwood.buffers.pytree import Tree, to_plain
from redwood.core.state import State

__all__ = ["Snapshot", "is_complete", "read_checkpoint", "take_snapshot", "write_checkpoint"]

# Bytes of rows in one tensor; a reader of some rows needs that much memory beside them.
CHUNK = 2**26


@dataclass(frozen=True)
class Snapshot:
    """A copy of a worker's buffer, which is written while the buffer changes further.

    Attributes:
        state: `RehearsalBuffer.bookkeeping`, and `rows`: samples (0, ...) of the same layout, or None.
        words: The rows (n, words) as they lie in memory; in a file if those of the buffer are.
        extra: Further state, packed.
    """

    state: State
    words: Tensor
    extra: dict[str, Tensor]


def take_snapshot(buffer: RehearsalBuffer, extra: State) -> Snapshot:
    """Copy a buffer; most of the time goes into its rows.

    Args:
        buffer: The buffer of this worker; nobody may write to it meanwhile.
        extra: Further tensors and plain values, equal on all workers.

    Raises:
        StorageError: If the rows' copy cannot be allocated.
    """
    if not buffer.has_rows:
        return Snapshot(buffer.bookkeeping() | {"rows": None}, torch.empty(0, 1, dtype=WORD), packed("extra", extra))
    rows = buffer.rows.words(len(buffer))
    words = buffer.spare_words(rows.numel()).view(rows.shape) if len(rows) else rows.new_empty(rows.shape, device="cpu")
    words.copy_(rows)
    samples = to_plain(buffer.rows.first(0), lambda leaf: torch.empty(leaf.shape, dtype=leaf.dtype))
    return Snapshot(buffer.bookkeeping() | {"rows": samples}, words, packed("extra", extra))


def write_checkpoint(
    snapshot: Snapshot | None, directory: Path, rank: int, world: int, group: ProcessGroup | None
) -> None:
    """Write the snapshots of all workers; each has to call this, from any thread.

    When it returns on any worker, all of them are written.

    Args:
        snapshot: The snapshot of this worker; None if another process of its number in `group` writes the same rows.
        directory: Folder that all workers see; its former content is removed.
        rank: Number of this worker among those that share the buffer.
        world: Number of these workers.
        group: A gloo group of all processes that nobody else uses meanwhile; None if there is only one.

    Raises:
        StorageError: If one of the workers cannot write.
    """
    assert group is not None or world == 1
    tensors = {} if snapshot is None else _tensors_of(snapshot, rank)
    checkpoint_files.write(tensors, directory, 0 if group is None else dist.get_rank(group), group)


def _tensors_of(snapshot: Snapshot, rank: int) -> dict[str, Tensor]:
    tensors = packed(_state_of(rank), snapshot.state) | (snapshot.extra if rank == 0 else {})
    raw = snapshot.words.view(torch.uint8)
    step = max(1, CHUNK // raw.shape[1])
    for number, start in enumerate(range(0, len(raw), step)):
        tensors[f"shard_{rank}/rows/{number}"] = raw[start : start + step]
    return tensors


def read_checkpoint(directory: Path, buffer: RehearsalBuffer, rank: int, world: int) -> State:
    """Restore a buffer; other workers need not take part.

    On the same number of workers, each continues exactly; rows that are still in shared memory are not read. On another
    number, see `resharding.reshard`: each worker reads the rows of all workers chunk by chunk, and keeps its own.

    Args:
        directory: Where `write_checkpoint` wrote.
        buffer: The buffer of this worker, new and empty.
        rank: Number of this worker.
        world: Number of workers.

    Returns:
        The `extra` that was given to `take_snapshot`.

    Raises:
        ValueError: If the checkpoint is incomplete, damaged, of another policy or sampler, or cannot be distributed to
            this number of workers. The buffer is then as it was before.
        StorageError: If the rows cannot be allocated.
    """
    shards = CheckpointReader(directory)
    n_saved = next(worker for worker in count() if _state_of(worker) not in shards.shapes)
    extra: State = shards.unpacked("extra")
    if n_saved == world:
        state = shards.unpacked(_state_of(rank))
        recovered = buffer.recovered_rows(state, mark_of(directory))
        if recovered is None:
            state["rows"] = _own_rows(shards, state["rows"], rank, buffer)
        else:
            state["rows"] = recovered.first(len(state["slot_statistics"]["arrivals"]))
    else:
        recovered = None
        states = [shards.unpacked(_state_of(worker)) for worker in range(n_saved)]
        resharded = reshard(states, buffer, rank, world)
        state = resharded.state | {"rows": _dealt_rows(shards, resharded, buffer)}
    buffer.load_state_dict(state, recovered)
    return extra


def mark_of(directory: Path) -> str:
    """The mark of rows in shared memory that belongs to a checkpoint: each has a folder of its own name."""
    return directory.name


def _state_of(worker: int) -> str:
    return f"shard_{worker}/state"


def _chunks(shards: CheckpointReader, worker: int) -> Iterator[tuple[str, int, int]]:
    """The name, the first slot and the end of each chunk of a worker's rows."""
    start, number = 0, 0
    while (name := f"shard_{worker}/rows/{number}") in shards.shapes:
        end = start + shards.shapes[name][0]
        yield name, start, end
        start, number = end, number + 1


def _own_rows(shards: CheckpointReader, samples: Tree, rank: int, buffer: RehearsalBuffer) -> Tree:
    """The samples that this worker stored; `samples` (0, ...) are those of `Snapshot.state`."""
    chunks = list(_chunks(shards, rank))
    if not chunks:
        return samples
    layout = RowLayout.of(samples)
    words = buffer.spare_words(chunks[-1][2] * layout.words).view(-1, layout.words)
    raw = words.view(torch.uint8)
    for name, start, end in chunks:
        shards.read(name, raw[start:end])
    return layout.typed(words)


def _dealt_rows(shards: CheckpointReader, resharded: Resharded, buffer: RehearsalBuffer) -> Tree:
    """The samples that this worker gets."""
    layout = resharded.layout
    if layout is None:
        return None
    n = len(resharded.slots)
    words = (buffer.spare_words(n * layout.words) if n else torch.empty(0, dtype=WORD)).view(n, layout.words)
    for worker in range(int(resharded.workers.max()) + 1 if n else 0):
        for name, start, end in _chunks(shards, worker):
            wanted = (resharded.workers == worker) & (resharded.slots >= start) & (resharded.slots < end)
            places = wanted.nonzero().view(-1)
            if not len(places):
                continue
            words[places] = shards.read(name).view(WORD)[resharded.slots[places] - start]
    return layout.typed(words)
