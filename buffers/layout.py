"""The layout of a row: all leaves of a sample side by side in one row of bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Self

import torch
from torch import Tensor

from redwood.buffers.pytree import Tree, flatten, structure_of, unflatten
from redwood.core.errors import BufferInputError

# Rows are moved in words of 16 bytes, the widest that torch has: its CPU scatter and gather go element by element.
WORD = torch.complex128
WORD_BYTES = 16


@dataclass(frozen=True)
class Leaf:
    """One tensor of a sample.

    Attributes:
        path: Its place in the sample, as `flatten` names it.
        shape: Shape of one sample.
        dtype: Its dtype.
        offset: Bytes from the start of the row.
    """

    path: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    offset: int

    @cached_property
    def nbytes(self) -> int:
        """Bytes of one sample."""
        return prod(self.shape) * self.dtype.itemsize

    @cached_property
    def strides(self) -> tuple[int, ...]:
        """Strides within one sample, in elements."""
        return tuple(prod(self.shape[axis + 1 :]) for axis in range(len(self.shape)))


@dataclass(frozen=True)
class RowLayout:
    """The leaves of a sample side by side in one row, which is padded to whole words of 16 bytes.

    Attributes:
        leaves: In the order of `flatten`.
        structure: A tree of the structure of a sample, with any leaves.
    """

    leaves: tuple[Leaf, ...]
    structure: Tree

    @classmethod
    def of(cls, samples: Tree) -> Self:
        """The layout of a batch of samples: a tree of tensors (B, ...).

        Raises:
            ValueError: If there is no leaf, or the leaves disagree in B.
        """
        given = list(flatten(samples))
        batch_size(given)
        leaves, end = [], 0
        for path, tensor in given:
            size = tensor.dtype.itemsize
            offset = -(-end // size) * size
            leaves.append(Leaf(path, tuple(tensor.shape[1:]), tensor.dtype, offset))
            end = offset + leaves[-1].nbytes
        return cls(tuple(leaves), structure_of(samples))

    @cached_property
    def paths(self) -> list[str]:
        """The place of each leaf in the sample."""
        return [leaf.path for leaf in self.leaves]

    @cached_property
    def stride(self) -> int:
        """Bytes from one row to the next."""
        last = self.leaves[-1]
        return max(1, -(-(last.offset + last.nbytes) // WORD_BYTES)) * WORD_BYTES

    @property
    def words(self) -> int:
        """Words of 16 bytes in a row."""
        return self.stride // WORD_BYTES

    @cached_property
    def _views(self) -> list[tuple[torch.dtype, tuple[int, ...], tuple[int, ...], int]]:
        """Dtype, shape, strides with that of the rows, and offset in elements of each leaf."""
        sizes = [leaf.dtype.itemsize for leaf in self.leaves]
        return [
            (leaf.dtype, leaf.shape, (self.stride // size, *leaf.strides), leaf.offset // size)
            for leaf, size in zip(self.leaves, sizes, strict=True)
        ]

    def views(self, rows: Tensor) -> list[Tensor]:
        """The leaves (n, ...) of rows (n, words), as views of them."""
        n, start = rows.shape[0], rows.storage_offset() * WORD_BYTES
        raw = rows.view(torch.uint8)  # bool cannot be viewed as from wider words
        return [
            raw.view(dtype).as_strided((n, *shape), strides, start // dtype.itemsize + offset)
            for dtype, shape, strides, offset in self._views
        ]

    def typed(self, rows: Tensor) -> Tree:
        """Samples (n, ...) as views of rows (n, words)."""
        return unflatten(self.structure, iter(self.views(rows)))

    def check(self, leaves: Sequence[tuple[str, Tensor]]) -> None:
        """Make sure that samples, given as `flatten` yields them, have this layout.

        Raises:
            ValueError: If a leaf is missing, unknown, or of another shape or dtype; the message names it.
        """
        if [path for path, _ in leaves] != self.paths:
            raise BufferInputError(
                f"This buffer stores the leaves {', '.join(self.paths)}, "
                f"got {', '.join(path for path, _ in leaves)}; add the same ones."
            )
        for leaf, (_, tensor) in zip(self.leaves, leaves, strict=True):
            shape = tuple(tensor.shape[1:])
            if shape != leaf.shape or tensor.dtype != leaf.dtype:
                remedy = "pad all samples to one shape, as in the collate_fn of a loader"
                raise BufferInputError(
                    f"Leaf {leaf.path} of this buffer has samples {leaf.shape} {leaf.dtype}, "
                    f"got {shape} {tensor.dtype}; {'convert it first' if shape == leaf.shape else remedy}."
                )


def batch_size(leaves: Sequence[tuple[str, Tensor]]) -> int:
    """The batch size B of leaves (B, ...), given as `flatten` yields them.

    Raises:
        ValueError: If the leaves do not share one B.
    """
    sizes = [tensor.shape[0] if tensor.dim() else -1 for _, tensor in leaves]
    if not sizes or sizes[0] < 0 or sizes.count(sizes[0]) != len(sizes):
        shapes = ", ".join(f"{path} {tuple(tensor.shape)}" for path, tensor in leaves)
        raise BufferInputError(f"A buffer needs leaves (B, ...) with one B, got {shapes or 'no leaf'}.")
    return sizes[0]
