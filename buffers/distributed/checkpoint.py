"""Checkpoints of the buffers of several workers, to be restored on the same or another number of workers."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from weakref import ReferenceType, ref

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import ProcessGroup

from redwood.buffers.buffer import RehearsalBuffer
from redwood.buffers.distributed import checkpoint_files
from redwood.buffers.distributed.changed_rows import ALL_ROWS, ChangedRows, SavedRows
from redwood.buffers.distributed.checkpoint_files import CheckpointReader, is_complete, packed
from redwood.buffers.distributed.resharding import Resharded, reshard
from redwood.buffers.distributed.row_chunks import Chunk, chunks_of, is_of_rows, rows_name, slots_name
from redwood.buffers.distributed.row_dealing import all_or_none, deal_rows
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
        words: The rows that are to be written (k, words) as they lie in memory; in a file if those of the buffer are.
        extra: Further state, packed.
        changed: Says which rows these are.
        source: The rows of the buffer itself; None if it has none.
        n_seen: Number of samples that the buffer had seen.
    """

    state: State
    words: Tensor
    extra: dict[str, Tensor]
    changed: ChangedRows
    source: ReferenceType[RowStorage] | None
    n_seen: int


def take_snapshot(buffer: RehearsalBuffer, extra: State, changed: ChangedRows = ALL_ROWS) -> Snapshot:
    """Copy a buffer; most of the time goes into its rows.

    Args:
        buffer: The buffer of this worker; nobody may write to it meanwhile.
        extra: Further tensors and plain values, equal on all workers.
        changed: The rows to copy, of `changed_rows.link_unchanged`; default: all.

    Raises:
        StorageError: If the rows' copy cannot be allocated.
    """
    if not buffer.has_rows:
        state, none = buffer.bookkeeping() | {"rows": None}, torch.empty(0, 1, dtype=WORD)
        return Snapshot(state, none, packed("extra", extra), changed, None, buffer.n_seen)
    samples = to_plain(buffer.rows.first(0), lambda leaf: torch.empty(leaf.shape, dtype=leaf.dtype))
    state, words = buffer.bookkeeping() | {"rows": samples}, _copied(buffer, changed.slots)
    return Snapshot(state, words, packed("extra", extra), changed, ref(buffer.rows), buffer.n_seen)


def _copied(buffer: RehearsalBuffer, slots: Tensor | None) -> Tensor:
    """Copies on the host of the rows in some slots, or of all."""
    rows = buffer.rows.words(len(buffer))
    n, width = len(rows) if slots is None else len(slots), rows.shape[1]
    if n == 0:
        return torch.empty(0, width, dtype=WORD)
    words = buffer.spare_words(n * width).view(n, width)
    if slots is None:
        return words.copy_(rows)
    step = max(1, CHUNK // (width * WORD.itemsize))  # on a GPU, each part is put together there
    for part, target in zip(slots.split(step), words.split(step), strict=True):
        target.copy_(rows[part.to(rows.device)])
    return words


def write_checkpoint(
    snapshot: Snapshot | None, directory: Path, rank: int, world: int, group: ProcessGroup | None
) -> SavedRows | None:
    """Write the snapshots of all workers; each has to call this, from any thread.

    When it returns on any worker, all of them are written.

    Args:
        snapshot: The snapshot of this worker; None if another process of its number in `group` writes the same rows.
        directory: Folder that all workers see; its former content is removed, except for files that were linked there.
        rank: Number of this worker among those that share the buffer.
        world: Number of these workers.
        group: A gloo group of all processes that nobody else uses meanwhile; None if there is only one.

    Returns:
        The rows of this worker that the next checkpoint need not write; None without rows.

    Raises:
        StorageError: If one of the workers cannot write.
    """
    assert group is not None or world == 1
    tensors, earlier = ({}, {}) if snapshot is None else (_tensors_of(snapshot, rank), snapshot.changed.earlier)
    number = 0 if group is None else dist.get_rank(group)
    pieces = checkpoint_files.write(tensors, directory, number, group, earlier)
    if snapshot is None or snapshot.source is None:
        return None
    kept = {name: piece for name, piece in pieces.items() if is_of_rows(name)}
    return SavedRows(directory, kept, snapshot.source, snapshot.n_seen)


def _tensors_of(snapshot: Snapshot, rank: int) -> dict[str, Tensor]:
    tensors = packed(_state_of(rank), snapshot.state) | (snapshot.extra if rank == 0 else {})
    raw, slots, earlier = snapshot.words.view(torch.uint8), snapshot.changed.slots, snapshot.changed.earlier
    step = max(1, CHUNK // raw.shape[1])
    first = next(number for number in count() if rows_name(rank, number) not in earlier)
    for number, start in enumerate(range(0, len(raw), step), first):
        tensors[rows_name(rank, number)] = raw[start : start + step]
        if slots is not None:
            tensors[slots_name(rank, number)] = slots[start : start + step]
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
            state["rows"] = _own_rows(shards, state, rank, buffer)
        else:
            state["rows"] = recovered.first(_n_rows(state))
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


def _n_rows(state: State) -> int:
    return len(state["slot_statistics"]["arrivals"])


def _own_rows(shards: CheckpointReader, state: State, rank: int, buffer: RehearsalBuffer) -> Tree:
    """The samples that this worker stored; `state` is that of its `Snapshot`."""
    samples, n = state["rows"], _n_rows(state)
    chunks = chunks_of(shards, rank, n)
    if not chunks:
        return samples
    layout = RowLayout.of(samples)
    words = buffer.spare_words(n * layout.words).view(n, layout.words)
    raw = words.view(torch.uint8)
    for chunk in chunks:  # later ones replace rows of earlier ones
        if isinstance(chunk.slots, range):
            shards.read(chunk.name, raw[chunk.slots.start : chunk.slots.stop])
        else:
            raw[chunk.slots] = shards.read(chunk.name)
    return layout.typed(words)


def _all_chunks(shards: CheckpointReader, states: Sequence[State]) -> list[Chunk]:
    """The chunks of all saved workers."""
    chunks, before = [], 0
    for worker, state in enumerate(states):
        chunks += chunks_of(shards, worker, _n_rows(state), before)
        before += _n_rows(state)
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
        return part, _all_chunks(shards, states), words

    resharded, chunks, words = all_or_none(prepare, group)
    if words is None or resharded.layout is None:
        return resharded.state | {"rows": None}
    deal_rows(shards, chunks, resharded, words, rank, group)
    return resharded.state | {"rows": resharded.layout.typed(words)}
