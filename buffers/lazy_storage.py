"""A storage that is allocated once the first samples tell its layout."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from redwood.buffers.errors import BufferInputError
from redwood.buffers.layout import RowLayout
from redwood.buffers.storage import RowStorage
from redwood.buffers.tiers import TIERS, allocate, resolve
from redwood.buffers.tree import flatten, plain


class LazyStorage:
    """Rows on a tier, or none yet.

    Attributes:
        rows: The storage, or None before the first samples.
    """

    def __init__(self, tier: str, directory: str | None) -> None:
        """Choose a tier, or `auto`, which is where the first samples are.

        Raises:
            ValueError: If there is no such tier.
        """
        if tier not in ("auto", *TIERS):
            raise BufferInputError(f"There is no tier {tier!r}; choose one of auto, {', '.join(TIERS)}.")
        self._tier, self._directory = tier, directory
        self.rows: RowStorage | None = None
        self._structure_known = True

    def open(self, samples: Any, leaves: Sequence[tuple[str, Tensor]], capacity: Callable[[RowLayout], int]) -> None:
        """Make sure that there are rows, and that samples fit into them.

        Args:
            samples: A tree of tensors (B, ...).
            leaves: The same, as `flatten` yields them.
            capacity: How many rows to allocate of a layout.

        Raises:
            ValueError: If the samples do not fit.
            StorageError: If the rows cannot be allocated.
        """
        if self.rows is not None:
            self.rows.layout.check(leaves)
        self._check_devices(leaves)
        if self.rows is None:
            layout = RowLayout.of(samples)
            self.rows = self._allocate(layout, capacity(layout), leaves[0][1].device)
        if not self._structure_known:
            self.rows.layout = replace(self.rows.layout, structure=RowLayout.of(samples).structure)
            self._structure_known = True

    def _check_devices(self, leaves: Sequence[tuple[str, Tensor]]) -> None:
        if self._tier != "auto":
            return
        device = self.rows.device if self.rows else leaves[0][1].device
        for path, tensor in leaves:
            # There is no tier for other accelerators' memory, so their samples are copied to the host.
            if tensor.device not in (device, torch.device("mps", 0)):
                raise BufferInputError(
                    f"The rows of this buffer are on {device}, got leaf {path} on {tensor.device}; "
                    "move either with `to`."
                )

    def _allocate(self, layout: RowLayout, capacity: int, near: torch.device) -> RowStorage:
        tier, device = resolve(self._tier, near)
        return RowStorage(layout, capacity, tier=tier, device=device, directory=self._directory)

    def to(self, device: torch.device) -> None:
        """Move the rows to a device, unless another tier than `auto` or `cuda` was chosen for them."""
        if self.rows is None or self._tier not in ("auto", "cuda"):
            return
        tier, where = resolve("auto", device)
        if (tier, where) != (self.rows.tier, self.rows.device if tier == "cuda" else None):
            self.rows.move(tier, where)

    def snapshot(self, n: int) -> Any:
        """Copies of the first `n` samples on the host, sequences of leaves being lists; None without rows."""
        # Leaf by leaf: a view would be saved with all of the storage behind it.
        return None if self.rows is None else plain(self.rows.first(n), _on_host)

    def spare(self, n_words: int) -> Tensor:
        """Words (n_words,) to keep copies of rows in: in a file if the rows are to be in one, else on the host.

        Raises:
            StorageError: If they cannot be allocated.
        """
        return allocate(n_words, "mmap" if self._tier == "mmap" else "host", directory=self._directory)

    def restored(self, snapshot: Any, capacity: int) -> "LazyStorage":
        """Another one of this kind that holds a snapshot.

        Raises:
            StorageError: If the rows cannot be allocated.
        """
        storage = LazyStorage(self._tier, self._directory)
        if snapshot is not None:
            leaves = list(flatten(snapshot))
            near = self.rows.device if self.rows is not None else leaves[0][1].device
            storage.rows = storage._allocate(RowLayout.of(snapshot), capacity, near)
            storage.rows.write(torch.arange(len(leaves[0][1])), snapshot)
            storage._structure_known = False  # it does not tell tuples from lists
        return storage


def _on_host(leaf: Tensor) -> Tensor:
    return torch.empty(leaf.shape, dtype=leaf.dtype).copy_(leaf)
