"""The rehearsal buffer: a storage, a policy and a sampler."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import Tensor

from redwood.buffers.component import resolve_component
from redwood.buffers.layout import RowLayout, batch_size
from redwood.buffers.policies import POLICIES, CandidateInfo, Placement, Policy
from redwood.buffers.pytree import flatten
from redwood.buffers.samplers import SAMPLERS, Sampler
from redwood.buffers.side_info import make_candidate_info, require
from redwood.buffers.slot_statistics import SlotStatistics
from redwood.buffers.state_validation import describe, restored_components
from redwood.buffers.storage import LazyStorage, RowBatch, RowStorage
from redwood.core.errors import BufferInputError


class Intake:
    """Rows in which a policy places samples as they come; see `RehearsalBuffer`, which draws from them, too."""

    def __init__(
        self,
        capacity: int | None = None,
        *,
        n_bytes: int | None = None,
        policy: Policy | str = "reservoir",
        sampler: Sampler | str = "uniform",
        tier: str = "auto",
        directory: str | None = None,
        n_classes: int | None = None,
        seed: int = 0,
    ) -> None:
        """Make an empty buffer.

        Args:
            capacity: Largest number of samples stored.
            n_bytes: Instead of `capacity`: how many bytes the rows may take.
            policy: Which samples are kept: a new policy, or the name of one (`POLICIES`).
            sampler: Which rows form a draw: a new sampler, or the name of one (`SAMPLERS`).
            tier: Where rows are kept: `cuda`, `pinned`, `host`, `mmap`, or `auto`, where the first samples are.
            directory: Folder of the file of the tier `mmap`; default: the one for temporary files.
            n_classes: Labels have to be below it, if given.
            seed: Seed of all decisions of this buffer; the global generator is never touched.

        Raises:
            ValueError: If an argument is out of range.
        """
        if (capacity is None) == (n_bytes is None):
            raise BufferInputError("A buffer needs either capacity, in samples, or n_bytes.")
        size, unit = (capacity, "sample") if capacity is not None else (n_bytes, "byte")
        assert size is not None
        if size < 1:
            raise BufferInputError(f"The capacity of a buffer must be at least 1 {unit}, got {size}.")
        self.policy: Policy = resolve_component(policy, POLICIES, "policy")
        self.sampler: Sampler = resolve_component(sampler, SAMPLERS, "sampler")
        self._capacity, self._n_bytes, self._seed = capacity, n_bytes, seed
        self._n_classes = n_classes
        self.needs = self.policy.needs | self.sampler.needs
        self._storage = LazyStorage(tier, directory)
        self._step = 0
        self._warned = False
        # None before there are rows: an allocation that fails is to be found out there.
        self._statistics = SlotStatistics(0)
        self.sampler.bind(seed)
        self.policy.bind(capacity or 0, seed)

    @property
    def capacity(self) -> int:
        """Largest number of samples stored; 0 while it was given in bytes and no sample has come."""
        return self._capacity or 0

    @property
    def n_seen(self) -> int:
        """Number of samples offered so far."""
        return self.policy.n_seen

    @property
    def n_draws(self) -> int:
        """Number of draws so far."""
        return self._step

    @property
    def nbytes(self) -> int:
        """Bytes allocated for rows, filled or not; 0 before the first `add`.

        Bookkeeping on the host comes on top: 16 bytes per row, some 150 more where rows are told apart by class or
        task, and the features that herding goes by.
        """
        return self._storage.rows.nbytes if self._storage.rows else 0

    @property
    def is_open(self) -> bool:
        """Whether there are rows, filled or not."""
        return self._storage.rows is not None

    @property
    def open_rows(self) -> RowStorage:
        """The rows, filled or not."""
        assert self._storage.rows is not None
        return self._storage.rows

    def __len__(self) -> int:
        """Number of samples stored."""
        return self.policy.size

    def add(
        self,
        samples: Any,
        *,
        labels: Tensor | None = None,
        tasks: Tensor | None = None,
        losses: Tensor | None = None,
        features: Tensor | None = None,
    ) -> None:
        """Offer a batch of samples; the first one fixes the structure, row shapes and dtypes.

        Args:
            samples: A tree of tensors (B, ...) with one B; gradients are not kept.
            labels: Classes (B,), integers, or label sets (B, L), bool; default: the leaf `y`. To be given on the host
                if the samples are on a GPU, as it has to be waited for otherwise.
            tasks: Tasks (B,), integers; default: the leaf `task_id`. Likewise.
            losses: Losses (B,), for policies that need them.
            features: Features (B, d), for policies that need them.

        Raises:
            ValueError: If the samples do not fit to each other or to earlier ones, or if something is missing. The
                buffer is then as it was before.
            StorageError: If the rows cannot be allocated.
        """
        leaves = list(flatten(samples))
        told = {"labels": labels, "tasks": tasks, "losses": losses, "features": features}
        info = self._candidate_info(samples, leaves, told)
        self._opened(samples, leaves)
        if info.n:
            self._write(leaves, self.propose(info), info.n)

    # The steps of putting in, for callers that have something to do in between.

    def candidate_info(self, samples: Any, **given: Tensor | None) -> CandidateInfo:
        """What the policy and the sampler need to know of samples; see `add` for the arguments and for what is raised.

        Samples may lack leaves that come later, as far as neither policy nor sampler needs them.
        """
        return self._candidate_info(samples, list(flatten(samples)), given)

    def _candidate_info(
        self, samples: Any, leaves: list[tuple[str, Tensor]], given: dict[str, Tensor | None]
    ) -> CandidateInfo:
        told = dict.fromkeys(("labels", "tasks", "losses", "features")) | given
        return make_candidate_info(self.policy, self.sampler, samples, batch_size(leaves), told, self._n_classes)

    def open(self, samples: Any) -> RowStorage:
        """The rows, which the first samples (B, ...) decide on; later ones are checked against these.

        Raises:
            ValueError: If the samples do not fit to each other or to earlier ones.
            StorageError: If the rows cannot be allocated.
        """
        return self._opened(samples, list(flatten(samples)))

    def propose(self, info: CandidateInfo) -> Placement:
        """Decide which of the offered samples are kept, and where; `write` them before anything is read or saved."""
        first = self.n_seen
        placement = self.policy.propose(info)
        positions, slots = placement
        self.sampler.on_incoming(info.tasks)
        if slots.numel():
            if not len(self._statistics.arrivals):
                self._statistics = SlotStatistics(self.capacity)
            self._statistics.written(slots, positions + first)
            if self.sampler.needs:
                labels, tasks = (None if told is None else told[positions] for told in (info.labels, info.tasks))
                self.sampler.on_stored(slots, labels, tasks)
        return placement

    def write(self, samples: Any, placement: Placement) -> None:
        """Copy those of the offered samples (B, ...) that were decided to be kept."""
        leaves = list(flatten(samples))
        self._write(leaves, placement, batch_size(leaves))

    def _write(self, leaves: list[tuple[str, Tensor]], placement: Placement, n: int) -> None:
        positions, slots = placement
        if slots.numel():
            chosen = None if _all(positions, n) else positions
            self.open_rows.write_leaves(slots, [tensor for _, tensor in leaves], chosen)

    def rows_of(self, layout: RowLayout) -> int:
        """How many rows of a layout there are to be.

        Raises:
            ValueError: If the capacity was given in bytes, and is less than one row takes.
        """
        if self._capacity is not None:
            return self._capacity
        assert self._n_bytes is not None
        if self._n_bytes < layout.stride:
            raise BufferInputError(f"n_bytes={self._n_bytes} is less than one sample takes, {layout.stride} bytes.")
        return self._n_bytes // layout.stride

    def _opened(self, samples: Any, leaves: list[tuple[str, Tensor]]) -> RowStorage:
        """The rows, which the first samples decide on."""
        self._storage.open(samples, leaves, self.rows_of)
        rows = self._storage.rows
        assert rows is not None
        if self._capacity is None:
            self._capacity = rows.capacity
            self.policy.bind(rows.capacity, self._seed)
        return rows

    def to(self, device: torch.device | str) -> Self:
        """Move the rows of the tiers `auto` and `cuda` to a device; others stay where they are."""
        self._storage.to(torch.device(device))
        return self


def _all(positions: Tensor, n: int) -> bool:
    """Whether these are all positions of a batch, in order."""
    return len(positions) == n and torch.equal(positions, torch.arange(n))


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
            self.sampler.on_incoming(require("tasks", tasks, None, len(tasks), type(self.sampler).__name__))
        slots = self.sampler.draw(n, self._step, len(self), None if rate is None else lambda s: rate(self.read(s)))
        self._step += 1
        self._statistics.drawn(slots)
        return slots

    def drawn(self, slots: Tensor) -> None:
        """Count rows (n,) as drawn by somebody who chose them without `draw`."""
        self._statistics.drawn(slots)

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

    def on_replayed(self, slots: Tensor, losses: Tensor) -> None:
        """Tell the policy which losses (n,) rows (n,) had when they were replayed.

        Raises:
            ValueError: If there is not one for each.
        """
        if losses.shape != slots.shape:
            raise BufferInputError(f"There are {len(slots)} rows, but the losses are of shape {tuple(losses.shape)}.")
        self.policy.on_replayed(slots.cpu(), losses.detach().cpu())

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
        return self.n_seen - 1 - self._statistics.arrivals[: len(self)]

    def draw_counts(self) -> Tensor:
        """How often each stored sample was drawn (len,), int64, in the order of the slots."""
        return self._statistics.draws[: len(self)].clone()

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
            "slot_statistics": self._statistics.state_dict(len(self)),
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
        policy, sampler = restored_components(state, self.policy, self.sampler, self._capacity)
        capacity = state["capacity"] or 0
        storage, statistics = self._storage.restored(state["rows"], capacity), SlotStatistics(capacity)
        statistics.load_state_dict(state["slot_statistics"])
        self.policy, self.sampler = policy, sampler
        self._storage, self._statistics = storage, statistics
        self._capacity, self._seed, self._step = state["capacity"], state["seed"], state["step"]
