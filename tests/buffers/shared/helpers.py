"""Rows in shared memory whose owner is this process, and rows to write into them."""

import os
from pathlib import Path

import torch
from torch import Tensor

from redwood.buffers.layout import RowLayout
from redwood.buffers.pytree import Tree
from redwood.buffers.shared.keeper import start_of
from redwood.buffers.shared.owner import Owner
from redwood.buffers.shared.rows import SharedRows
from redwood.buffers.storage import RowStorage

CAPACITY = 12


class QuietOwner(Owner):
    """An owner without a keeper: the folder is the test's."""

    def start_keeper(self, folder: Path) -> None:
        """Start none."""


# This process, also for those that it forks.
ME = QuietOwner(os.getpid(), str(start_of(os.getpid())))


def shared_rows(folder: Path, rank: int = 0, world: int = 1) -> SharedRows:
    """Files that no object of this process uses, as after a restart."""
    return SharedRows(ME, rank, world, str(folder))


def samples(values: Tensor) -> Tree:
    """Samples (n, ...) that hold numbers (n,)."""
    return {"x": values[:, None].expand(-1, 5).float(), "y": values}


LAYOUT = RowLayout.of(samples(torch.arange(1)))


def storage(shared: SharedRows) -> RowStorage:
    return RowStorage(LAYOUT, CAPACITY, shared=shared)


def numbers(rows: Tensor) -> list[int]:
    """The numbers that rows (n, words) hold; those of a row that is torn differ."""
    leaves = LAYOUT.typed(rows)
    assert torch.equal(leaves["x"], leaves["y"][:, None].expand(-1, 5).float())
    return leaves["y"].tolist()  # type: ignore[no-any-return]
