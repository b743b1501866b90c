"""The rows of a checkpoint, chunk by chunk: a row is in the last chunk that holds its slot."""

from dataclasses import dataclass

import torch
from torch import Tensor

from redwood.buffers.distributed.checkpoint_files import CheckpointReader


@dataclass(frozen=True)
class Chunk:
    """Some rows of a checkpoint, which are read together.

    Attributes:
        name: Name of their tensor.
        number: Number of the chunk among those of its worker, in the order of their writing.
        slots: Their slots.
        newest: Number of the chunk that holds the newest row of each slot of the worker; None: each has one row.
        before: Number of rows of the saved workers before this one.
    """

    name: str
    number: int
    slots: range | Tensor
    newest: Tensor | None
    before: int

    def newest_rows(self) -> tuple[Tensor, Tensor]:
        """Rows that no later chunk replaces: their positions in the chunk (k,), and their numbers in all (k,).

        The rows of all saved workers are numbered one worker after the other.
        """
        slots = self.slots if isinstance(self.slots, Tensor) else torch.arange(self.slots.start, self.slots.stop)
        if self.newest is None:
            return torch.arange(len(slots)), slots + self.before
        positions = (self.newest[slots] == self.number).nonzero().view(-1)
        return positions, slots[positions] + self.before


def rows_name(worker: int, number: int) -> str:
    """The name of the tensor with the rows of a chunk."""
    return f"shard_{worker}/rows/{number}"


def slots_name(worker: int, number: int) -> str:
    """The name of the tensor with the slots of a chunk of changed rows; other chunks lie one after the other."""
    return f"shard_{worker}/slots/{number}"


def is_of_rows(name: str) -> bool:
    """True if a tensor of this name holds rows of a chunk, or their slots."""
    return "/rows/" in name or "/slots/" in name


def chunks_of(shards: CheckpointReader, worker: int, n: int, before: int = 0) -> list[Chunk]:
    """The chunks of a worker, in the order of their writing.

    Args:
        shards: The checkpoint.
        worker: Number of the worker.
        n: Number of its rows.
        before: Number of rows of the workers before it.

    Raises:
        ValueError: If the slots are damaged.
    """
    found: list[tuple[str, range | Tensor]] = []
    end = 0
    while (name := rows_name(worker, len(found))) in shards.shapes:
        n_rows, slots_of_chunk = shards.shapes[name][0], slots_name(worker, len(found))
        if slots_of_chunk in shards.shapes:
            changed = shards.read(slots_of_chunk)
            if changed.shape != (n_rows,) or changed.dtype != torch.int64 or not _are_within(changed, n):
                raise shards.damaged(f"{slots_of_chunk} are no slots")
            found.append((name, changed))
        else:
            found.append((name, range(end, end + n_rows)))
            end += n_rows
    newest, is_whole = None, end == n
    if end <= n and any(isinstance(slots, Tensor) for _, slots in found):
        newest = torch.full((n,), -1, dtype=torch.int32)
        for number, (_, slots) in enumerate(found):
            newest[slots if isinstance(slots, Tensor) else slice(slots.start, slots.stop)] = number
        is_whole = bool((newest >= 0).all())
    if not is_whole:
        raise shards.damaged(f"shard_{worker} does not hold {n} rows")
    return [Chunk(name, number, slots, newest, before) for number, (name, slots) in enumerate(found)]


def _are_within(slots: Tensor, n: int) -> bool:
    return not slots.numel() or (int(slots.min()) >= 0 and int(slots.max()) < n)
