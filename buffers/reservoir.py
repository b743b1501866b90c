"""Reservoir sampling: a uniform random subset of a stream of unknown length, in bounded memory."""

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor

# A permutation costs O(rows stored), rejection O(rows drawn) at about 30 times the price per row.
_REJECTION_FROM = 32


class ReservoirBuffer:
    """Keep a uniform random subset of all samples offered so far (Vitter 1985, algorithm R).

    After n offered samples each of them is stored with probability min(1, capacity / n), whatever the batch sizes were.
    Decisions are drawn on the CPU from a private generator, so that leaves on an accelerator are never waited for.

    Example:
        >>> buffer = ReservoirBuffer(capacity=2, seed=0)
        >>> buffer.add(x=torch.zeros(5, 3, dtype=torch.uint8), y=torch.arange(5))
        >>> len(buffer), buffer.n_seen, buffer.nbytes
        (2, 5, 22)
        >>> buffer.sample(8)["x"].shape
        torch.Size([2, 3])
    """

    def __init__(self, capacity: int, *, seed: int = 0) -> None:
        """Make an empty buffer.

        Args:
            capacity: Largest number of samples stored.
            seed: Seed of all draws of this buffer; the global generator is never touched.

        Raises:
            ValueError: If `capacity` is less than 1.
        """
        if capacity < 1:
            raise ValueError(f"The capacity of a buffer must be at least 1 sample, got {capacity}.")
        self._capacity = capacity
        self._n_seen = 0
        self._generator = torch.Generator().manual_seed(seed)
        self._rows: dict[str, Tensor] = {}
        self._words: dict[str, Tensor] = {}  # views of the rows, made once because they are used in every step

    @property
    def capacity(self) -> int:
        """Largest number of samples stored."""
        return self._capacity

    @property
    def n_seen(self) -> int:
        """Number of samples offered so far."""
        return self._n_seen

    @property
    def nbytes(self) -> int:
        """Bytes allocated for rows, filled or not; 0 before the first `add`."""
        return sum(rows.nbytes for rows in self._rows.values())

    def __len__(self) -> int:
        """Number of samples stored."""
        return min(self._n_seen, self._capacity)

    def add(self, /, **leaves: Tensor) -> None:
        """Offer a batch of samples; the first one fixes the names, row shapes, dtypes and devices of the leaves.

        Args:
            **leaves: What to keep of each sample, as tensors (B, ...) with one B; gradients are not kept.

        Raises:
            ValueError: If the leaves disagree in B, or with those of earlier calls.
        """
        n_rows = _batch_size(leaves)
        if self._rows:
            _check_layout(leaves, self._rows)
        else:
            self._hold({name: _allocate(self._capacity, leaf) for name, leaf in leaves.items()})
        start = len(self)
        n_fill = min(self._capacity - start, n_rows)
        if n_fill:
            for name, leaf in leaves.items():
                self._rows[name][start : start + n_fill].copy_(leaf[:n_fill].detach())
        if n_fill < n_rows:
            uniforms = torch.rand(n_rows - n_fill, dtype=torch.float64, generator=self._generator)
            slots, accepted = replacements(uniforms, self._n_seen + n_fill, self._capacity)
            if slots.numel():
                self._replace(slots, accepted + n_fill if n_fill else accepted, leaves)
        self._n_seen += n_rows

    def sample(self, n: int) -> dict[str, Tensor]:
        """Draw stored samples uniformly without replacement.

        Args:
            n: Number of samples wanted; if fewer are stored, all of them come, in random order.

        Returns:
            Each leaf as a new tensor (min(n, len), ...), on the device and in the dtype it was added with.

        Raises:
            ValueError: If the buffer is empty or `n` is less than 1.
        """
        if self._n_seen == 0:
            raise ValueError("Cannot sample from an empty buffer; call `add` first.")
        if n < 1:
            raise ValueError(f"The number of samples to draw must be at least 1, got {n}.")
        index = _distinct(min(n, len(self)), len(self), self._generator)
        return {
            name: rows.index_select(0, index.to(rows.device, non_blocking=True)) for name, rows in self._rows.items()
        }

    def to(self, device: torch.device | str) -> Self:
        """Move the stored rows to `device`: that of new samples, where a state was loaded on another one."""
        self._hold({name: rows.to(device) for name, rows in self._rows.items()})
        return self

    def state_dict(self) -> dict[str, Any]:
        """Return a snapshot of tensors and plain integers, from which `load_state_dict` goes on exactly."""
        return {
            "capacity": self._capacity,
            "n_seen": self._n_seen,
            "generator": self._generator.get_state(),
            # A slice would be saved with all of the storage behind it.
            "rows": {name: rows[: len(self)].clone() for name, rows in self._rows.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the rows, the counts and the random state of a snapshot; rows stay on the device they come on.

        Raises:
            ValueError: If the snapshot is of a buffer of another capacity.
        """
        if state["capacity"] != self._capacity:
            raise ValueError(
                f"The saved buffer holds {state['capacity']} samples and this one {self._capacity}; "
                f"make it with capacity={state['capacity']}."
            )
        self._n_seen = state["n_seen"]
        self._generator.set_state(state["generator"].cpu())
        self._hold({name: _allocate(self._capacity, saved) for name, saved in state["rows"].items()})
        for name, saved in state["rows"].items():
            self._rows[name][: len(self)].copy_(saved)

    def _hold(self, rows: dict[str, Tensor]) -> None:
        self._rows = rows
        self._words = {name: _words(leaf_rows) for name, leaf_rows in rows.items()}

    def _replace(self, slots: Tensor, accepted: Tensor, leaves: Mapping[str, Tensor]) -> None:
        for name, leaf in leaves.items():
            words = self._words[name]
            new = leaf.detach().index_select(0, accepted.to(leaf.device, non_blocking=True))
            new_words = new.view(new.shape[0], -1).view(words.dtype)
            words.index_copy_(0, slots.to(leaf.device, non_blocking=True), new_words)


def replacements(uniforms: Tensor, n_seen: int, capacity: int) -> tuple[Tensor, Tensor]:
    """Decide which samples of a batch enter a full reservoir, and where (Vitter 1985, algorithm R).

    The sample that arrives as number i (from 0) takes slot floor(u * (i + 1)), if there is such a slot.

    Args:
        uniforms: One draw u in [0, 1) for each sample (B,), float64.
        n_seen: Number of samples that arrived before this batch.
        capacity: Number of slots.

    Returns:
        Distinct slots (R,) and the position in the batch of the sample that each one takes (R,), both int64: where
        several samples of the batch fall on one slot, the last of them.
    """
    counts = torch.arange(n_seen + 1, n_seen + uniforms.numel() + 1, dtype=torch.float64)
    slots = (uniforms * counts).long()
    accepted = (slots < capacity).nonzero().view(-1)
    slots = slots.index_select(0, accepted)
    if accepted.numel() < 2:
        return slots, accepted
    # Later keys overwrite earlier ones; writing one slot twice in one tensor operation would be undefined.
    last = dict(zip(slots.tolist(), accepted.tolist(), strict=True))
    if len(last) < accepted.numel():
        slots, accepted = torch.tensor(list(last)), torch.tensor(list(last.values()))
    return slots, accepted


def _distinct(n: int, population: int, generator: torch.Generator) -> Tensor:
    """Draw `n` distinct integers (n,) below `population`, every ordered choice equally likely."""
    if population <= _REJECTION_FROM * n:
        return torch.randperm(population, generator=generator)[:n]
    # The first n distinct values of a sequence of uniform draws; a dict keeps the order of first appearance.
    chosen: dict[int, None] = {}
    while len(chosen) < n:
        draws = torch.randint(population, (n + n // 16 + 8,), generator=generator)
        chosen.update(dict.fromkeys(draws.tolist()))
    return torch.tensor(list(chosen)[:n])


def _words(rows: Tensor) -> Tensor:
    """View contiguous rows (N, ...) as (N, W) of the widest integers that fit: torch copies by element on the CPU."""
    flat = rows.view(rows.shape[0], -1)
    n_bytes = flat.shape[1] * flat.element_size()
    if n_bytes % 8 == 0:
        return flat.view(torch.int64)
    return flat.view(torch.int32 if n_bytes % 4 == 0 else torch.int16 if n_bytes % 2 == 0 else torch.uint8)


def _allocate(capacity: int, leaf: Tensor) -> Tensor:
    return torch.empty((capacity, *leaf.shape[1:]), dtype=leaf.dtype, device=leaf.device)


def _batch_size(leaves: Mapping[str, Tensor]) -> int:
    sizes = {leaf.shape[0] if leaf.dim() else None for leaf in leaves.values()}
    if len(sizes) != 1 or None in sizes:
        shapes = ", ".join(f"{name} {tuple(leaf.shape)}" for name, leaf in leaves.items())
        raise ValueError(f"A buffer needs leaves (B, ...) with one B, got {shapes or 'no leaf'}.")
    (size,) = sizes
    assert size is not None
    return size


def _check_layout(leaves: Mapping[str, Tensor], rows: Mapping[str, Tensor]) -> None:
    if leaves.keys() != rows.keys():
        raise ValueError(f"This buffer stores the leaves {sorted(rows)}, got {sorted(leaves)}; add the same ones.")
    for name, leaf in leaves.items():
        row = rows[name]
        if leaf.shape[1:] != row.shape[1:] or leaf.dtype != row.dtype:
            raise ValueError(
                f"Leaf {name} of this buffer has rows {tuple(row.shape[1:])} {row.dtype}, "
                f"got {tuple(leaf.shape[1:])} {leaf.dtype}; convert it first."
            )
        if leaf.device != row.device:
            raise ValueError(
                f"Leaf {name} of this buffer is on {row.device}, got one on {leaf.device}; move either with `to`."
            )
