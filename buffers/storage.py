"""Preallocated rows of samples, addressed by slot."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import cache

import numpy as np
import torch
from torch import Tensor

from redwood.buffers.layout import RowLayout
from redwood.buffers.pytree import Tree, flatten, to_plain, unflatten
from redwood.buffers.randomness import Array
from redwood.buffers.shared.rows import RowsLostError, SharedRows
from redwood.buffers.tiers import TIERS, allocate, resolve
from redwood.core.errors import BufferInputError, StorageError
from redwood.core.user_warnings import warn


class RowBatch:
    """Memory for some rows, to read into or to write from; the views of its leaves are made once.

    Attributes:
        rows: The rows (n, words).
        leaves: Their leaves (n, ...), in the order of the layout.
        samples: The leaves as a tree, in the structure in which samples are added.
        whole: See `as_whole_rows`.
    """

    def __init__(self, layout: RowLayout, rows: Tensor) -> None:
        self.rows = rows
        self.leaves = layout.views(rows)
        self.samples: Tree = unflatten(layout.structure, iter(self.leaves))
        self.whole = as_whole_rows(rows)

    def __len__(self) -> int:
        """Number of rows."""
        return self.rows.shape[0]


def as_whole_rows(leaf: Tensor) -> Array | None:
    """View samples (n, ...) on the host as a NumPy array (n,) of rows; None on a GPU, or if they hold nothing.

    NumPy moves a row with one copy, where torch scatters word by word and takes twice as long.
    """
    n = len(leaf)
    if not leaf.is_cpu or not leaf.numel():
        return None
    leaf = leaf.detach()
    if leaf.is_conj():
        leaf = leaf.resolve_conj()
    # Bytes first: NumPy knows no bfloat16. Rows of a storage are contiguous one by one, and stay views.
    rows = leaf if leaf.dim() == 2 and leaf.stride(1) == 1 else leaf.contiguous().view(n, -1)
    return rows.view(torch.uint8).numpy().view(_row_type(rows.shape[1] * rows.element_size()))[:, 0]


@cache
def _row_type(n_bytes: int) -> np.dtype[np.void]:
    return np.dtype((np.void, n_bytes))


# Bytes of rows that are staged at a time, and the number of stages kept.
STAGE, STAGE_ON_GPU, KEPT_STAGES = 2**19, 2**26, 2
# From this number of bytes of a row on, its leaves are written one by one.
DIRECT_FROM = 2**10


class RowStorage:
    """Rows that hold all leaves of a sample each, so that a draw is one gather.

    Nothing here waits for a GPU: indices on the host are copied to it without synchronisation.

    Examples:
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
        shared: SharedRows | None = None,
        rows: Tensor | None = None,
    ) -> None:
        """Allocate `capacity` rows; see `tiers.allocate` for the other arguments and for what is raised.

        Args:
            layout: The layout of a row.
            capacity: Number of rows.
            tier: See `tiers.allocate`, as for `device` and `directory`.
            device: Likewise.
            directory: Likewise.
            shared: Files of the rows in shared memory, for the tier `host`.
            rows: Rows (capacity, words) that are there already, in place of new ones.
        """
        self.layout = layout
        self.tier = tier
        self._device, self._directory, self._shared = device, directory, shared
        self._hold(self._allocate(capacity, tier, device) if rows is None else rows)

    def _allocate(self, capacity: int, tier: str, device: torch.device | None) -> Tensor:
        if self._shared is not None:
            return self._shared.allocate(self.layout, capacity)
        words = allocate(capacity * self.layout.words, tier, device=device, directory=self._directory)
        return words.view(capacity, self.layout.words)

    def _hold(self, rows: Tensor) -> None:
        self._rows = rows
        self._whole = as_whole_rows(rows)
        raw = rows.view(torch.uint8)
        self._columns = [as_whole_rows(raw[:, leaf.offset : leaf.offset + leaf.nbytes]) for leaf in self.layout.leaves]
        self._stages: dict[int, RowBatch] = {}  # memory to put rows together in, by their number

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
        """The tier of the rows."""
        return self._rows.device

    def write(self, slots: Tensor, samples: Tree) -> None:
        """Overwrite rows.

        Args:
            slots: Distinct slots (n,), int64, on the host or on the rows' device.
            samples: A tree of tensors (n, ...) as in the layout; gradients are not kept.
        """
        self.write_leaves(slots, [tensor for _, tensor in flatten(samples)])

    def _here(self, slots: Tensor) -> Tensor:
        """The slots on the device of the rows; a copy to the host is waited for, since it is read at once."""
        if slots.device == self._rows.device:
            return slots
        return slots.to(self.device, non_blocking=self._rows.is_cuda)

    def write_leaves(self, slots: Tensor, leaves: Sequence[Tensor], positions: Tensor | None = None) -> None:
        """Overwrite rows by leaves (n, ...) in the order of the layout, or by those at some positions (r,)."""
        if not len(slots):
            return
        slots = self._here(slots)
        if self._shared is not None:
            self._shared.before_write(slots)
        if self._whole is not None and (positions is not None or self.layout.stride >= DIRECT_FROM):
            self._write_directly(slots, leaves, positions)
            return
        if positions is not None:
            leaves = [leaf.detach().index_select(0, positions.to(leaf.device, non_blocking=True)) for leaf in leaves]
        n, step = len(slots), max(1, (STAGE_ON_GPU if self._rows.is_cuda else STAGE) // self.layout.stride)
        for start in range(0, n, step):
            part = slice(start, start + step)
            self._write_part(slots[part], leaves if n <= step else [leaf[part] for leaf in leaves])

    def _write_directly(self, slots: Tensor, leaves: Sequence[Tensor], positions: Tensor | None) -> None:
        # Leaf by leaf: each row is copied only once.
        index = slots.numpy()
        for column, leaf in zip(self._columns, leaves, strict=True):
            if column is None:
                continue
            if positions is not None and not leaf.is_cpu:  # only the chosen rows are copied to the host
                leaf, chosen = leaf.index_select(0, positions.to(leaf.device, non_blocking=True)), None
            else:
                chosen = None if positions is None else positions.numpy()
            rows = as_whole_rows(leaf.cpu())
            assert rows is not None
            column[index] = rows if chosen is None else rows[chosen]

    def _write_part(self, slots: Tensor, leaves: Sequence[Tensor]) -> None:
        # Rows are staged where the cache holds them, and then copied whole.
        stage = self._stages.get(len(slots)) or self._new_stage(len(slots))
        _in_use(stage.rows)
        for staged, leaf in zip(stage.leaves, leaves, strict=True):
            staged.copy_(leaf.detach(), non_blocking=self._rows.is_cuda)
        if self._whole is None:
            _in_use(self._rows).index_copy_(0, slots, stage.rows)
        else:
            self._whole[slots.numpy()] = stage.whole

    def _new_stage(self, n: int) -> RowBatch:
        if len(self._stages) == KEPT_STAGES:
            self._stages.clear()
        self._stages[n] = self.rows_like(n)
        return self._stages[n]

    def read(self, slots: Tensor, out: RowBatch | None = None, device: torch.device | None = None) -> Tree:
        """Copy rows.

        Args:
            slots: Slots (n,), int64, on the host or on the rows' device.
            out: Memory to copy into, from `rows_like(n)`; default: new memory, pinned if the rows are. New memory of
                tens of megabytes costs several times as much as the copy.
            device: Where the samples are wanted; default: where the rows are.

        Returns:
            A tree of tensors (n, ...) that share the memory of the copied rows: `out.samples`, if that is given and
            the rows are on the device.
        """
        slots = self._here(slots)
        if out is None and self.tier != "pinned":
            rows = _in_use(self._rows).index_select(0, slots)
        else:
            batch = out or self.rows_like(len(slots))
            rows = torch.index_select(_in_use(self._rows), 0, slots, out=batch.rows)
            if device is None or device == self.device:
                return batch.samples
        # A copy to a GPU is not waited for, unless the caller may overwrite its source meanwhile.
        to_gpu = device is not None and device.type == "cuda" and out is None
        return self.layout.typed(rows if device is None else rows.to(device, non_blocking=to_gpu))

    def gather(self, slots: Tensor, out: Tensor) -> None:
        """Copy rows, as words, into memory (n, words) on the same device."""
        torch.index_select(_in_use(self._rows), 0, self._here(slots), out=out)

    def rows_like(self, n: int) -> RowBatch:
        """Memory for `n` rows: on the same device, pinned if the storage is."""
        shape = (n, self.layout.words)
        rows = torch.empty(shape, dtype=self._rows.dtype, device=self.device, pin_memory=self.tier == "pinned")
        return RowBatch(self.layout, rows)

    def first(self, n: int) -> Tree:
        """The samples in the first `n` slots, as views of the storage itself."""
        return self.layout.typed(self._rows[:n])

    def words(self, n: int) -> Tensor:
        """The first `n` rows as they lie in memory (n, words), as a view of the storage itself."""
        return self._rows[:n]

    def move(self, tier: str, device: torch.device | None, n: int) -> None:
        """Move the first `n` rows, which are all that are filled, to another tier."""
        rows = self._allocate(self.capacity, tier, device)
        rows[:n].copy_(_in_use(self._rows)[:n])
        self.tier, self._device = tier, device
        self._hold(rows)


def _in_use(rows: Tensor) -> Tensor:
    """The rows; on a GPU, the allocator does not reuse their memory before the current stream is done with them."""
    if rows.is_cuda:
        rows.record_stream(torch.cuda.current_stream(rows.device))
    return rows


class LazyStorage:
    """Rows on a tier, or none yet.

    Attributes:
        rows: The storage, or None before the first samples.
    """

    def __init__(
        self,
        tier: str,
        directory: str | None,
        placing: Callable[[], AbstractContextManager[None]] = nullcontext,
        shared: SharedRows | None = None,
        choose_tier: Callable[[RowLayout, int], str] | None = None,
    ) -> None:
        """Choose a tier, or `auto`, which is where the first samples are; for the others see `RehearsalBuffer`.

        Raises:
            ValueError: If there is no such tier.
        """
        if tier not in ("auto", *TIERS):
            raise BufferInputError(f"There is no tier {tier!r}; choose one of auto, {', '.join(TIERS)}.")
        self._tier, self._directory, self._placing, self._shared = tier, directory, placing, shared
        self._choose_tier = choose_tier
        self.rows: RowStorage | None = None
        self._structure_known = True

    def ensure_rows(
        self, samples: Tree, leaves: Sequence[tuple[str, Tensor]], capacity: Callable[[RowLayout], int]
    ) -> None:
        """Allocate rows if there are none, and make sure that samples fit into them.

        Args:
            samples: A tree of tensors (B, ...).
            leaves: Its leaves, as `flatten` yields them.
            capacity: Maps a layout to the number of rows to allocate.

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
            # There is no tier for the memory of other accelerators: their samples are copied to the host.
            if tensor.device not in (device, torch.device("mps", 0)):
                raise BufferInputError(
                    f"The rows of this buffer are on {device}, got leaf {path} on {tensor.device}; "
                    "move either with `to`."
                )

    def _allocate(self, layout: RowLayout, capacity: int, near: torch.device) -> RowStorage:
        if self._choose_tier is not None:
            self._tier = self._choose_tier(layout, capacity)
        tier, device = resolve(self._tier, near)
        with self._placing():
            return RowStorage(
                layout, capacity, tier=tier, device=device, directory=self._directory, shared=self._shared
            )

    def to(self, device: torch.device, n: int) -> None:
        """Move the first `n` rows to a device, unless another tier than `auto` or `cuda` was chosen for them."""
        if self.rows is None or self._tier not in ("auto", "cuda"):
            return
        tier, where = resolve("auto", device)
        if (tier, where) != (self.rows.tier, self.rows.device if tier == "cuda" else None):
            with self._placing():
                self.rows.move(tier, where, n)

    def move(self, tier: str, device: torch.device, n: int) -> None:
        """Move the first `n` rows to a tier, whose GPU is `device` if it is `cuda`; without room they stay."""
        assert self.rows is not None
        if tier == self.rows.tier:
            return
        try:
            with self._placing():
                self.rows.move(tier, device if tier == "cuda" else None, n)
        except StorageError as error:
            warn(f"Rows stay on the tier {self.rows.tier}: {error}")
            return
        self._tier = tier

    def snapshot(self, n: int) -> Tree:
        """Copies of the first `n` samples on the host, sequences of leaves being lists; None without rows."""
        # Leaf by leaf: a view would be saved with all of the storage behind it.
        return None if self.rows is None else to_plain(self.rows.first(n), _on_host)

    def spare_words(self, n_words: int) -> Tensor:
        """Words (n_words,) to keep copies of rows in: in a file if the rows are to be in one, else on the host.

        Raises:
            StorageError: If they cannot be allocated.
        """
        return allocate(n_words, "mmap" if self._tier == "mmap" else "host", directory=self._directory)

    def mark(self, name: str, n: int) -> None:
        """Give the state of the first `n` rows a name, if they are in shared memory; see `SharedRows.mark`."""
        if self._shared is not None and self.rows is not None:
            self._shared.mark(name, n)

    def recovered(self, samples: Tree, capacity: int, name: str, n: int) -> RowStorage | None:
        """Rows that an earlier process has left in shared memory, as they were at a mark; None without such.

        Args:
            samples: Samples (0, ...) of their layout.
            capacity: Number of rows.
            name: Name of the mark.
            n: Number of rows that were filled then.
        """
        if self._shared is None:
            return None
        layout, were_there = RowLayout.of(samples), self._shared.were_there
        try:
            rows = self._shared.recover(layout, capacity, name, n)
        except RowsLostError as error:
            if were_there:
                warn(f"Rows are read from the checkpoint, since those in memory {error}.")
            return None
        return RowStorage(layout, capacity, directory=self._directory, shared=self._shared, rows=rows)

    def restored(self, snapshot: Tree, capacity: int, recovered: RowStorage | None = None) -> "LazyStorage":
        """A new storage of this tier that holds a snapshot.

        Args:
            snapshot: The samples; None if there never were any.
            capacity: Number of rows.
            recovered: Rows that hold these samples already.

        Raises:
            StorageError: If the rows cannot be allocated.
        """
        storage = LazyStorage(self._tier, self._directory, self._placing, self._shared, self._choose_tier)
        if recovered is not None:
            storage.rows, storage._structure_known = recovered, False
        elif snapshot is not None:
            leaves = list(flatten(snapshot))
            near = self.rows.device if self.rows is not None else leaves[0][1].device
            with self._placing():
                storage.rows = storage._allocate(RowLayout.of(snapshot), capacity, near)
                storage.rows.write(torch.arange(len(leaves[0][1])), snapshot)
            storage._structure_known = False  # a snapshot does not distinguish tuples from lists
        return storage


def _on_host(leaf: Tensor) -> Tensor:
    return torch.empty(leaf.shape, dtype=leaf.dtype).copy_(leaf)
