"""Preallocated rows, addressed by slot."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from redwood.buffers.layout import RowLayout, as_words
from redwood.buffers.tiers import allocate
from redwood.buffers.tree import flatten


class RowStorage:
    """Rows that hold all leaves of a sample each, so that a draw is one gather.

    Nothing here waits for a GPU: indices on the host are copied to it without synchronisation.

    Example:
        >>> storage = RowStorage(RowLayout.of({"x": torch.zeros(1, 3), "y": torch.zeros(1).long()}), capacity=4)
        >>> storage.write(torch.tensor([2, 0]), {"x": torch.ones(2, 3), "y": torch.tensor([7, 8])})
        >>> storage.read(torch.tensor([0, 2]))["y"]
        tensor([8, 7])
        >>> storage.nbytes
        128
    """

    def __init__(
        self,
        layout: RowLayout,
        capacity: int,
        *,
        tier: str = "host",
        device: torch.device | None = None,
        directory: str | None = None,
    ) -> None:
        """Allocate `capacity` rows; see `tiers.allocate` for the other arguments and for what is raised."""
        self.layout = layout
        self.tier = tier
        self._device, self._directory = device, directory
        self._hold(self._allocate(capacity, tier, device))

    def _allocate(self, capacity: int, tier: str, device: torch.device | None) -> Tensor:
        words = allocate(capacity * self.layout.words, tier, device=device, directory=self._directory)
        return words.view(capacity, self.layout.words)

    def _hold(self, rows: Tensor) -> None:
        self._rows = rows
        # Views of each leaf in the widest words, made once because they are used in every step.
        self._columns = []
        for leaf in self.layout.leaves:
            size = leaf.word.itemsize
            words = rows.view(torch.uint8).view(leaf.word)
            self._columns.append(words[:, leaf.offset // size : (leaf.offset + leaf.nbytes) // size])

    @property
    def capacity(self) -> int:
        """Number of slots."""
        return self._rows.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes allocated for the rows, filled or not."""
        return self._rows.nbytes

    @property
    def device(self) -> torch.device:
        """Where the rows are."""
        return self._rows.device

    def write(self, slots: Tensor, samples: Any) -> None:
        """Overwrite rows.

        Args:
            slots: Distinct slots (n,), int64, on the host or on the rows' device.
            samples: A tree of tensors (n, ...) as in the layout; gradients are not kept.
        """
        self.write_leaves(slots, [tensor for _, tensor in flatten(samples)])

    def write_leaves(self, slots: Tensor, leaves: Sequence[Tensor]) -> None:
        """Overwrite rows by leaves (n, ...) in the order of the layout."""
        slots = slots.to(self.device, non_blocking=True)
        for column, leaf, tensor in zip(self._columns, self.layout.leaves, leaves, strict=True):
            if leaf.nbytes:
                words = as_words(tensor, leaf.word)
                # Copies to the host are waited for: they would be read before they have arrived.
                column.index_put_((slots,), words.to(self.device, non_blocking=self._rows.is_cuda))

    def read(self, slots: Tensor, out: Tensor | None = None, device: torch.device | None = None) -> Any:
        """Copy rows.

        Args:
            slots: Slots (n,), int64, on the host or on the rows' device.
            out: Rows (n, words) to copy into, from `rows_like`; default: new ones, pinned ones if the rows are.
            device: Where the samples are wanted; default: where the rows are.

        Returns:
            A tree of tensors (n, ...) that share the memory of the copied rows.
        """
        if out is None and self.tier == "pinned":
            out = self.rows_like(len(slots))
        slots = slots.to(self.device, non_blocking=True)
        # With out=None torch would still pay for looking at it.
        rows = self._rows.index_select(0, slots) if out is None else torch.index_select(self._rows, 0, slots, out=out)
        return self.layout.typed(rows if device is None else rows.to(device, non_blocking=True))

    def rows_like(self, n: int) -> Tensor:
        """Rows (n, words) to read into: on the same device, in pinned memory if the storage is."""
        shape = (n, self.layout.words)
        return torch.empty(shape, dtype=self._rows.dtype, device=self.device, pin_memory=self.tier == "pinned")

    def first(self, n: int) -> Any:
        """The samples in the first `n` slots, as views of the storage itself."""
        return self.layout.typed(self._rows[:n])

    def grow(self, capacity: int) -> None:
        """Make room for `capacity` rows; those that are there stay where they are."""
        rows = self._allocate(capacity, self.tier, self._device)
        rows[: self.capacity].copy_(self._rows)
        self._hold(rows)

    def move(self, tier: str, device: torch.device | None) -> None:
        """Move the rows to another tier."""
        rows = self._allocate(self.capacity, tier, device)
        rows.copy_(self._rows)
        self.tier, self._device = tier, device
        self._hold(rows)
