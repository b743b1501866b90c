"""Single bits of saved buffers that are turned."""

from collections.abc import Iterator
from pathlib import Path

import torch


def flips(directory: Path, n: int, seed: int) -> Iterator[tuple[Path, int]]:
    """Random bits of the files in a folder, every bit of all of them equally often."""
    files = sorted(directory.iterdir())
    ends = torch.tensor([8 * file.stat().st_size for file in files]).cumsum(0)
    for bit in torch.randint(int(ends[-1]), (n,), generator=torch.Generator().manual_seed(seed)).tolist():
        number = int((ends <= bit).sum())
        yield files[number], bit - (int(ends[number - 1]) if number else 0)


def flipped(data: bytes, bit: int) -> bytes:
    """The same bytes with one bit turned."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
