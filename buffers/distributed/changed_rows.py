"""Rows that have changed since the last checkpoint: the next one writes these, and links the files of the others."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from weakref import ReferenceType

from torch import Tensor

from redwood.buffers.buffer import RehearsalBuffer
from redwood.buffers.distributed.checkpoint_files import Piece
from redwood.buffers.storage import RowStorage

# Files of earlier checkpoints that one checkpoint may link.
MAX_LINKS = 8
# Part of the rows that may lie in increments; their older versions take as much space again.
MAX_INCREMENTS = 0.5


@dataclass(frozen=True)
class SavedRows:
    """The rows of a worker in its latest complete checkpoint.

    Attributes:
        directory: Folder of the checkpoint.
        pieces: The pieces of its rows, and of the slots of increments.
        rows: The rows that were saved; a buffer that is restored or reset has others.
        n_seen: Number of samples that the buffer had seen then.
    """

    directory: Path
    pieces: Mapping[str, Piece]
    rows: "ReferenceType[RowStorage]"
    n_seen: int


@dataclass(frozen=True)
class ChangedRows:
    """The part of a worker's rows that a checkpoint has to write.

    Attributes:
        slots: Slots of the rows to write (k,), ascending; None: all.
        earlier: The pieces of earlier checkpoints, whose files are linked into the folder of this one.
    """

    slots: Tensor | None = None
    earlier: Mapping[str, Piece] = field(default_factory=dict)


ALL_ROWS = ChangedRows()


def link_unchanged(buffer: RehearsalBuffer, saved: SavedRows | None, directory: Path) -> ChangedRows:
    """Link the files of the latest checkpoint into the folder of the next one, and find the rows that have changed.

    All rows are to be written again if there is no checkpoint of this buffer, its files cannot be linked, there would
    be more than `MAX_LINKS` of them, or more than `MAX_INCREMENTS` of the rows would lie in increments.

    Args:
        buffer: The buffer; nobody may write to it meanwhile.
        saved: Its latest checkpoint.
        directory: The folder of the next one, which has a name of its own.
    """
    if saved is None or not buffer.has_rows or saved.rows() is not buffer.rows or not saved.pieces:
        return ALL_ROWS
    # A sample is stored when it arrives, so the number of its arrival tells when its row was written.
    slots = buffer.slots_since(saved.n_seen)
    increments = len(slots) + sum(piece.shape[0] for name, piece in saved.pieces.items() if "/slots/" in name)
    files = {piece.file for piece in saved.pieces.values()}
    if increments > MAX_INCREMENTS * len(buffer) or len(files) > MAX_LINKS:
        return ALL_ROWS
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for file in files:
            os.link(saved.directory / file, directory / file)
    except OSError:  # another file system, one without links, or the earlier checkpoint was removed
        return ALL_ROWS
    return ChangedRows(slots, saved.pieces)
