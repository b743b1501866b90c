"""The paths of many files, in little memory."""

import os
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch


class PathTable:
    """Paths of files, one behind the other in one text.

    A million of them takes about 60 MB, and a list of strings 110 MB in each process. The text lies in tensors, which
    all processes share.
    """

    def __init__(self, paths: Iterable[str | Path]) -> None:
        """Take up the paths, in their order."""
        text, ends = bytearray(), array("q", [0])
        for path in paths:
            text += os.fsencode(path)
            ends.append(len(text))
        self._text = torch.frombuffer(text or bytearray(1), dtype=torch.uint8)
        self._ends = torch.frombuffer(ends, dtype=torch.int64)

    def __len__(self) -> int:
        """Number of paths."""
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:
        """Path `index`, counted from 0."""
        start, stop = self._ends[index : index + 2].tolist()
        return os.fsdecode(self._text[start:stop].numpy().tobytes())

    def __iter__(self) -> Iterator[str]:
        """The paths in their order."""
        return map(self.__getitem__, range(len(self)))
