"""Slots of chunks that no checkpoint has are refused."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from redwood.buffers.distributed import checkpoint_files
from redwood.buffers.distributed.checkpoint_files import CheckpointReader
from redwood.buffers.distributed.row_chunks import chunks_of


def reader(folder: Path, n_rows: int, changed: Tensor) -> CheckpointReader:
    """A checkpoint of consecutive rows, and two rows that have changed."""
    rows = {"shard_0/rows/0": torch.zeros(n_rows, 8), "shard_0/rows/1": torch.zeros(2, 8), "shard_0/slots/1": changed}
    checkpoint_files.write(rows, folder, 0, None)
    return CheckpointReader(folder)


def test_the_last_chunk_has_the_newest_row(tmp_path: Path) -> None:
    first, last = chunks_of(reader(tmp_path, 3, torch.tensor([1, 3])), 0, 4, before=10)
    assert [part.tolist() for part in first.newest_rows()] == [[0, 2], [10, 12]]
    assert [part.tolist() for part in last.newest_rows()] == [[0, 1], [11, 13]]


@pytest.mark.parametrize(
    ("n_rows", "changed"),
    [
        (4, torch.tensor([1, 4])),
        (4, torch.tensor([-1, 1])),
        (4, torch.tensor([1])),
        (4, torch.tensor([1.0, 2.0])),
        (3, torch.tensor([0, 1])),  # nobody has the last row
        (5, torch.tensor([0, 1])),
    ],
)
def test_damage(n_rows: int, changed: Tensor, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"are damaged \(shard_0.*; resume from another checkpoint\.$"):
        chunks_of(reader(tmp_path, n_rows, changed), 0, 4)
