"""The rehearsal buffer: a storage, a policy and a sampler."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from redwood.buffers.errors import BufferInputError
from redwood.buffers.intake import Intake
from redwood.buffers.offers import find
from redwood.buffers.records import Records
from redwood.buffers.row_batch import RowBatch
from redwood.buffers.snapshots import describe, restored_parts
from redwood.buffers.storage import RowStorage
from redwood.buffers.tree import flatten


class RehearsalBuffer(Intake):
    """A bounded memory of past samples.

    A sample is any tree of tensors (nested dictionaries, lists, tuples); each leaf keeps its shape and dtype. All
    decisions are made on the host, from indices and scalars, and all randomness is a pure function of the seed, the
    number of a sample's arrival and the number of a draw: nothing waits for a GPU unless a policy or sampler needs
    labels or the like that are only there.

    Attributes:
        policy: Which samples are kept.
        sampler: Which rows form a draw.
        needs: What these two have to be told: `labels`, `tasks`, `losses`, `features` of samples, a `rate` for draws.

    Example:
        >>> buffer = RehearsalBuffer(capacity=2, seed=0)
        >>> buffer.add({"x": torch.zeros(5, 3, dtype=torch.uint8), "y": torch.arange(5)})
        >>> len(buffer), buffer.n_seen, buffer.nbytes
        (2, 5, 32)
        >>> buffer.sample(2)["x"].shape
        torch.Size([2, 3])
    """

    # Taking out; `Intake` is where samples are put in.

    def draw(self, n: int, *, rate: Callable[[Any], Tensor] | None = None, tasks: Tensor | None = None) -> Tensor:
        """Choose stored rows.

        Args:
            n: Number of rows wanted, at least 1.
            rate: For samplers that need it: maps samples (m, ...), as `read` returns them, to scores (m,).
            tasks: For samplers that tell old tasks from the current one: the tasks (B,) of the samples that the rows
                are to be replayed with; default: those of the samples added last.

        Returns:
            Distinct slots (at most n,), int64: fewer if not so many are stored, or to be drawn.

        Raises:
            ValueError: If `n` is less than 1, or `rate` is missing.
        """
        if n < 1:
            raise BufferInputError(f"The number of samples to draw must be at least 1, got {n}.")
        if rate is None and "rate" in self.sampler.needs:
            raise BufferInputError(f"{type(self.sampler).__name__} needs scores of the stored samples; pass rate=...")
        if self._capacity is not None and n > self._capacity and not self._warned:
            self._warned = True
            warnings.warn(
                f"{n} samples are drawn from a buffer of {self._capacity}; it returns what there is.", stacklevel=2
            )
        if not len(self):
            return torch.empty(0, dtype=torch.int64)
        if tasks is not None and "tasks" in self.sampler.needs:
            self.sampler.came(find("tasks", tasks, None, len(tasks), type(self.sampler).__name__))
        slots = self.sampler.draw(n, self._step, len(self), None if rate is None else lambda s: rate(self.read(s)))
        self._step += 1
        self._records.drawn(slots)
        return slots

    def drawn(self, slots: Tensor) -> None:
        """Count rows (n,) as drawn by somebody who chose them without `draw`."""
        self._records.drawn(slots)

    def read(self, slots: Tensor, *, out: RowBatch | None = None, device: torch.device | None = None) -> Any:
        """Copies of the samples in some slots (n,): a tree of tensors (n, ...), as they were added.

        Args:
            slots: Which ones.
            out: Memory to copy into, from `rows_like(n)`; default: new memory, which for tens of megabytes takes
                several times as long as the copy.
            device: Where the samples are wanted; default: where the rows are.
        """
        return self._filled().read(slots, out, device)

    def rows_like(self, n: int) -> RowBatch:
        """Memory to `read` n rows into, again and again."""
        return self._filled().rows_like(n)

    def sample(
        self,
        n: int,
        *,
        rate: Callable[[Any], Tensor] | None = None,
        tasks: Tensor | None = None,
        device: torch.device | None = None,
    ) -> Any:
        """Draw rows, and copy them: `read(draw(n, ...), device=device)`.

        Raises:
            ValueError: If the buffer is empty, `n` is less than 1, or `rate` is missing.
        """
        return self.read(self.draw(n, rate=rate, tasks=tasks), device=device)

    def all(self, *, device: torch.device | None = None) -> Any:
        """Copies of all samples that are stored, in the order of their slots; see `read`."""
        return self.read(torch.arange(len(self)), device=device)

    def _filled(self) -> RowStorage:
        if self._storage.rows is None or not len(self):
            raise BufferInputError("Cannot sample from an empty buffer; call `add` first.")
        return self._storage.rows

    # Telling it more.

    def rated(self, slots: Tensor, losses: Tensor) -> None:
        """Tell the policy which losses (n,) rows (n,) had when they were replayed.

        Raises:
            ValueError: If there is not one for each.
        """
        if losses.shape != slots.shape:
            raise BufferInputError(f"There are {len(slots)} rows, but the losses are of shape {tuple(losses.shape)}.")
        self.policy.rated(slots.cpu(), losses.detach().cpu())

    def refresh(self, features: Tensor) -> None:
        """Tell the sampler the features (len, d) of all stored rows, in the order of `all`.

        Raises:
            ValueError: If there is not one for each.
        """
        if features.dim() != 2 or len(features) != len(self):
            raise BufferInputError(
                f"There are {len(self)} rows, but the features are of shape {tuple(features.shape)}."
            )
        self.sampler.refresh(features.detach().cpu())

    # Looking at it.

    def class_counts(self, leaf: str = "y") -> dict[int, int]:
        """Number of stored samples of each value of an integer leaf (), ascending.

        Raises:
            ValueError: If there is no such leaf.
        """
        if not len(self):
            return {}
        assert self._storage.rows is not None
        leaves = dict(flatten(self._storage.rows.first(len(self))))
        if leaf not in leaves:
            raise BufferInputError(f"This buffer has no leaf {leaf!r}; it stores {', '.join(leaves)}.")
        values = leaves[leaf]
        names, counts = values.unique(return_counts=True)
        return dict(zip(names.tolist(), counts.tolist(), strict=True))

    def ages(self) -> Tensor:
        """How many samples came after each stored one (len,), int64, in the order of the slots."""
        return self.n_seen - 1 - self._records.arrivals[: len(self)]

    def draw_counts(self) -> Tensor:
        """How often each stored sample was drawn (len,), int64, in the order of the slots."""
        return self._records.draws[: len(self)].clone()

    # Saving it.

    def state_dict(self) -> dict[str, Any]:
        """A snapshot of tensors and plain values, from which `load_state_dict` goes on exactly."""
        return self.bookkeeping() | {"rows": self._storage.snapshot(len(self))}

    def bookkeeping(self) -> dict[str, Any]:
        """All of a snapshot but the rows."""
        return {
            "capacity": self._capacity,
            "seed": self._seed,
            "step": self._step,
            "policy": describe(self.policy) | self.policy.state_dict(),
            "sampler": describe(self.sampler) | self.sampler.state_dict(),
            "records": self._records.state_dict(len(self)),
        }

    def spare(self, n_words: int) -> Tensor:
        """Words (n_words,) to keep copies of rows in: in a file if the rows are to be in one, else on the host.

        Raises:
            StorageError: If they cannot be allocated.
        """
        return self._storage.spare(n_words)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a snapshot; where rows are kept is up to this buffer.

        Raises:
            ValueError: If the snapshot is damaged, or of a buffer of another capacity, policy or sampler. This buffer
                is then as it was before.
        """
        policy, sampler = restored_parts(state, self.policy, self.sampler, self._capacity)
        capacity = state["capacity"] or 0
        storage, records = self._storage.restored(state["rows"], capacity), Records(capacity)
        records.load_state_dict(state["records"])
        self.policy, self.sampler = policy, sampler
        self._storage, self._records = storage, records
        self._capacity, self._seed, self._step = state["capacity"], state["seed"], state["step"]
