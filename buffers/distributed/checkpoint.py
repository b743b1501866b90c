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
from redwood.buffers.distributed.row_dealing import Chunk, all_or_none, deal_rows
from redwood.buffers.layout import WORD, RowLayout
from redwood.buffers.pytree import Tree, to_plain
from redwood.buffers.storage import RowStorage
from redwood.core.state import State

__all__ = ["Snapshot", "is_complete", "read_checkpoint", "take_snapshot", "write_checkpoint"]

# Bytes of rows in one tensor. A reader of some rows needs that much memory beside them, and three times as much where
# workers hand each other what they read: the chunk, its rows by receiver, and the rows that come in.
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


def read_checkpoint(
    directory: Path, buffer: RehearsalBuffer, rank: int, world: int, group: ProcessGroup | None = None
) -> State:
    """Restore a buffer; all workers of `group` have to call this.

    On the same number of workers, each continues exactly; rows that are still in shared memory are not read. On another
    number, see `resharding.reshard`: with a group each row is read by one worker, see `row_dealing.deal_rows`; without
    one, this worker reads all rows chunk by chunk, and keeps its own.

    Args:
        directory: Where `write_checkpoint` wrote.
        buffer: The buffer of this worker, new and empty.
        rank: Number of this worker.
        world: Number of workers.
        group: A gloo group of these workers, which nobody else uses meanwhile; None: other workers do not take part.

    Returns:
        The `extra` that was given to `take_snapshot`.

    Raises:
        ValueError: If the checkpoint is incomplete, damaged, of another policy or sampler, or cannot be distributed to
            this number of workers; on all workers of the group. The buffer of the one that finds it is then as it was
            before.
        StorageError: If the rows cannot be allocated.
    """
    shards = all_or_none(lambda: CheckpointReader(directory), group)
    n_saved = next(worker for worker in count() if _state_of(worker) not in shards.shapes)
    extra: State = all_or_none(lambda: shards.unpacked("extra"), group)

    def own_state() -> tuple[State, RowStorage | None]:
        state = shards.unpacked(_state_of(rank))
        recovered = buffer.recovered_rows(state, mark_of(directory))
        if recovered is None:
            state["rows"] = _own_rows(shards, state["rows"], rank, buffer)
        else:
            state["rows"] = recovered.first(len(state["slot_statistics"]["arrivals"]))
        return state, recovered

    if n_saved == world:
        state, recovered = all_or_none(own_state, group)
    else:
        state, recovered = _reshard(shards, buffer, n_saved, rank, world, group), None
    all_or_none(lambda: buffer.load_state_dict(state, recovered), group)
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


def _all_chunks(shards: CheckpointReader, n_saved: int) -> list[Chunk]:
    """The chunks of all saved workers, whose rows are numbered one worker after the other."""
    chunks, before = [], 0
    for worker in range(n_saved):
        own = list(_chunks(shards, worker))
        chunks += [Chunk(name, before + start, before + end) for name, start, end in own]
        before += own[-1][2] if own else 0
    return chunks


def _reshard(
    shards: CheckpointReader, buffer: RehearsalBuffer, n_saved: int, rank: int, world: int, group: ProcessGroup | None
) -> State:
    """The state of this worker's buffer, out of those of another number of workers."""

    def prepare() -> tuple[Resharded, list[Chunk], Tensor | None]:
        states = [shards.unpacked(_state_of(worker)) for worker in range(n_saved)]
        part, words = reshard(states, buffer, rank, world), None
        if part.layout is not None:
            n, width = len(part.rows), part.layout.words
            words = (buffer.spare_words(n * width) if n else torch.empty(0, dtype=WORD)).view(n, width)
        return part, _all_chunks(shards, n_saved), words

    resharded, chunks, words = all_or_none(prepare, group)
    if words is None or resharded.layout is None:
        return resharded.state | {"rows": None}
    deal_rows(shards, chunks, resharded, words, rank, group)
    return resharded.state | {"rows": resharded.layout.typed(words)}
