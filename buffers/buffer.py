"""The rehearsal buffer: a storage, a policy and a sampler."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Self

import torch
from torch import Tensor

from redwood.buffers.component import resolve_component
from redwood.buffers.layout import RowLayout, batch_size
from redwood.buffers.placement_validation import check_placement, is_range
from redwood.buffers.policies import POLICIES, CandidateInfo, Placement, Policy
from redwood.buffers.pytree import Tree, flatten
from redwood.buffers.samplers import SAMPLERS, Sampler
from redwood.buffers.shared.rows import SharedRows
from redwood.buffers.side_info import make_candidate_info, require
from redwood.buffers.slot_statistics import SlotStatistics
from redwood.buffers.state_validation import FORMAT, describe, restored_components
from redwood.buffers.storage import LazyStorage, RowBatch, RowStorage
from redwood.core.errors import BufferInputError
from redwood.core.state import State
from redwood.core.user_warnings import warn


class RehearsalBuffer:
    """A bounded memory of past samples.

    A sample is any tree of tensors (nested dictionaries, lists, tuples); each leaf keeps its shape and dtype. `add`
    has two steps: the policy proposes which samples to keep and in which slots, and the storage writes them. `sample`
    has two steps as well: the sampler draws slots, and the storage reads them.

    All decisions are made on the host, from indices and scalars. All randomness is a pure function of the seed, the
    number of a sample's arrival and the number of a draw. Nothing waits for a GPU, unless labels or the like that are
    needed are only there.

    Attributes:
        policy: Chooses the samples to keep.
        sampler: Chooses the rows to draw.
        needs: Names of what these two need: `labels`, `tasks`, `losses`, `features` of samples, a `rate` for draws.

    Examples:
        >>> buffer = RehearsalBuffer(capacity=2, seed=0)
        >>> buffer.add({"x": torch.zeros(5, 3, dtype=torch.uint8), "y": torch.arange(5)})
        >>> len(buffer), buffer.n_seen, buffer.nbytes
        (2, 5, 32)
        >>> buffer.sample(2)["x"].shape
        torch.Size([2, 3])
    """

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
        placing: Callable[[], AbstractContextManager[None]] = nullcontext,
        shared: SharedRows | None = None,
        choose_tier: Callable[[RowLayout, int], str] | None = None,
    ) -> None:
        """Make an empty buffer.

        Args:
            capacity: Largest number of samples stored.
            n_bytes: Instead of `capacity`: how many bytes the rows may take.
            policy: Chooses the samples to keep: a new policy, or the name of one (`POLICIES`).
            sampler: Chooses the rows to draw: a new sampler, or the name of one (`SAMPLERS`).
            tier: Where rows are kept: `cuda`, `pinned`, `host`, `mmap`, or `auto`, where the first samples are.
            directory: Folder of the file of the tier `mmap`; default: the one for temporary files.
            n_classes: Labels have to be below it, if given.
            seed: Seed of all decisions of this buffer; the global generator is never touched.
            placing: Makes a context in which rows are allocated, moved and restored: the one of a stream of a GPU.
            shared: Files in shared memory to keep the rows in, with the tier `host`.
            choose_tier: Maps a layout and a number of rows to the tier that they go to, in place of `tier`.

        Raises:
            ValueError: If an argument is out of range.
        """
        if (capacity is None) == (n_bytes is None):
            raise BufferInputError("A buffer needs either capacity, in samples, or n_bytes.")
        for size, unit in ((capacity, "sample"), (n_bytes, "byte")):
            if size is not None and size < 1:
                raise BufferInputError(f"The capacity of a buffer must be at least 1 {unit}, got {size}.")
        self.policy: Policy = resolve_component(policy, POLICIES, "policy")
        self.sampler: Sampler = resolve_component(sampler, SAMPLERS, "sampler")
        self.needs = self.policy.needs | self.sampler.needs
        self._capacity, self._n_bytes, self._n_classes, self._seed = capacity, n_bytes, n_classes, seed
        self._storage = LazyStorage(tier, directory, placing, shared, choose_tier)
        self._statistics = SlotStatistics(0)  # without slots until there are rows: allocating these may fail
        self._n_draws = 0
        self._has_warned = False
        self._bind(capacity or 0)

    def _bind(self, capacity: int) -> None:
        self.policy.bind(capacity, self._seed)
        if self.policy.capacity != capacity:
            raise BufferInputError(f"`bind` of the policy {type(self.policy).__name__} has to call super().bind first.")
        self.sampler.bind(self._seed)
        if self.policy.classes is not None:
            self.sampler.use_classes(self.policy.classes)

    # How large it is.

    @property
    def capacity(self) -> int:
        """Largest number of samples stored; 0 while it was given in bytes and no sample has come."""
        return self._capacity or 0

    @property
    def n_seen(self) -> int:
        """Number of samples added so far, whether they were kept or not."""
        return self.policy.n_seen

    @property
    def n_draws(self) -> int:
        """Number of draws so far."""
        return self._n_draws

    @property
    def nbytes(self) -> int:
        """Bytes allocated for rows, filled or not; 0 before the first `add`.

        Bookkeeping on the host comes on top: 8 bytes per row, 8 more for classes, 8 more for tasks, 4 more with `ring`,
        and the losses, features or label sets that other policies keep.
        """
        return self.rows.nbytes if self.has_rows else 0

    @property
    def has_rows(self) -> bool:
        """True if rows are allocated, filled or not."""
        return self._storage.rows is not None

    @property
    def rows(self) -> RowStorage:
        """The rows, filled or not; there are none before the first `add`."""
        assert self._storage.rows is not None
        return self._storage.rows

    def __len__(self) -> int:
        """Number of samples stored."""
        return self.policy.size

    # Adding samples.

    def add(
        self,
        samples: Tree,
        *,
        labels: Tensor | None = None,
        tasks: Tensor | None = None,
        losses: Tensor | None = None,
        features: Tensor | None = None,
    ) -> None:
        """Add a batch of samples, of which the policy keeps some.

        The first batch fixes the structure, and shape and dtype of each leaf.

        Args:
            samples: A tree of tensors (B, ...) with one B; gradients are not kept.
            labels: Classes (B,), integers, or label sets (B, L), bool; default: the leaf `y`. Pass them on the host if
                the samples are on a GPU, which has to be waited for otherwise.
            tasks: Tasks (B,), integers; default: the leaf `task_id`. Likewise.
            losses: Losses (B,), for policies that need them.
            features: Features (B, d), for policies and samplers that need them.

        Raises:
            ValueError: If the samples do not fit to each other or to earlier ones, or if something is missing. The
                buffer is then as it was before.
            StorageError: If the rows cannot be allocated.
        """
        leaves = list(flatten(samples))
        side_info = {"labels": labels, "tasks": tasks, "losses": losses, "features": features}
        info = self._candidate_info(samples, batch_size(leaves), side_info)
        self._ensure_rows(samples, leaves)
        if info.n:
            self._write(leaves, self.propose(info), info.n)

    # The steps of `add`.

    def candidate_info(self, samples: Tree, **side_info: Tensor | None) -> CandidateInfo:
        """Return the labels and so on that policy and sampler need of samples; see `add` for the arguments."""
        return self._candidate_info(samples, batch_size(list(flatten(samples))), side_info)

    def _candidate_info(self, samples: Tree, n: int, side_info: Mapping[str, Tensor | None]) -> CandidateInfo:
        return make_candidate_info(self.policy, self.sampler, samples, n, side_info, self._n_classes)

    def ensure_rows(self, samples: Tree) -> None:
        """Allocate rows for samples (B, ...) if there are none yet; else make sure that the samples fit into the rows.

        Raises:
            ValueError: If the samples do not fit to each other or to earlier ones.
            StorageError: If the rows cannot be allocated.
        """
        self._ensure_rows(samples, list(flatten(samples)))

    def _ensure_rows(self, samples: Tree, leaves: Sequence[tuple[str, Tensor]]) -> None:
        self._storage.ensure_rows(samples, leaves, self.n_rows)
        if self._capacity is None:
            self._capacity = self.rows.capacity
            self._bind(self._capacity)

    def n_rows(self, layout: RowLayout) -> int:
        """Number of rows of a layout that this buffer may have.

        Raises:
            ValueError: If the capacity was given in bytes, and is less than one row takes.
        """
        if self._capacity is not None:
            return self._capacity
        assert self._n_bytes is not None
        if self._n_bytes < layout.stride:
            raise BufferInputError(f"n_bytes={self._n_bytes} is less than one sample takes, {layout.stride} bytes.")
        return self._n_bytes // layout.stride

    def propose(self, info: CandidateInfo) -> Placement:
        """Decide which samples to keep, and in which slots; `write` them before anything is read or saved.

        Raises:
            ValueError: If the policy breaks the rules of `Policy.propose`.
        """
        policy = self.policy
        first, size = policy.n_seen, policy.size
        placement = policy.propose(info)
        check_placement(policy, placement, info.n, first, size)
        positions, slots = placement
        self.sampler.on_incoming(info.tasks)
        if slots.numel():
            if not self._statistics.arrivals.numel():
                self._statistics = SlotStatistics(self.capacity)
            self._statistics.on_stored(slots, positions + first, policy.n_seen)
            if self.sampler.needs:
                labels, tasks = (None if known is None else known[positions] for known in (info.labels, info.tasks))
                self.sampler.on_stored(slots, labels, tasks)
            if "features" in self.sampler.needs:
                assert info.features is not None
                self.sampler.on_features(slots, info.features[positions])
        return placement

    def write(self, samples: Tree, placement: Placement) -> None:
        """Copy the samples (B, ...) of a placement into their slots."""
        leaves = list(flatten(samples))
        self._write(leaves, placement, batch_size(leaves))

    def _write(self, leaves: Sequence[tuple[str, Tensor]], placement: Placement, n: int) -> None:
        positions, slots = placement
        if slots.numel():
            is_whole_batch = positions.numel() == n and is_range(positions, 0, n)
            self.rows.write_leaves(slots, [tensor for _, tensor in leaves], None if is_whole_batch else positions)

    # Drawing samples.

    def draw(self, n: int, *, rate: Callable[[Tree], Tensor] | None = None, tasks: Tensor | None = None) -> Tensor:
        """Choose stored rows.

        Args:
            n: Number of rows wanted, at least 1.
            rate: For samplers that need it: maps samples (m, ...), as `read` returns them, to scores (m,).
            tasks: For samplers that distinguish old tasks from the current one: the tasks (B,) of the samples that the
                rows are to be replayed with; default: those of the samples added last.

        Returns:
            Distinct slots (at most n,), int64: fewer if not so many are stored, or to be drawn.

        Raises:
            ValueError: If `n` is less than 1, or `rate` is missing.
        """
        if n < 1:
            raise BufferInputError(f"The number of samples to draw must be at least 1, got {n}.")
        if rate is None and "rate" in self.sampler.needs:
            raise BufferInputError(f"{type(self.sampler).__name__} needs scores of the stored samples; pass rate=...")
        if self._capacity is not None and n > self._capacity and not self._has_warned:
            self._has_warned = True
            text = f"{n} samples are drawn from a buffer of {self._capacity}; it returns what there is."
            warn(text)
        if not len(self):
            return torch.empty(0, dtype=torch.int64)
        if tasks is not None and "tasks" in self.sampler.needs:
            self.sampler.on_incoming(require("tasks", tasks, None, len(tasks), type(self.sampler).__name__))
        rate_slots = None if rate is None else lambda slots: rate(self.read(slots))
        slots = self.sampler.draw(n, self._n_draws, len(self), rate_slots)
        self._n_draws += 1
        self._statistics.on_drawn(slots)
        return slots

    def count_drawn(self, slots: Tensor) -> None:
        """Count rows (n,) as drawn that were chosen without `draw`."""
        self._statistics.on_drawn(slots)

    def read(self, slots: Tensor, *, out: RowBatch | None = None, device: torch.device | None = None) -> Tree:
        """Copies of the samples in some slots (n,): a tree of tensors (n, ...), as they were added.

        Args:
            slots: The slots.
            out: Memory to copy into, from `rows_like(n)`; default: new memory, which takes several times as long.
            device: Where the samples are wanted; default: where the rows are.
        """
        return self._filled_rows().read(slots, out, device)

    def rows_like(self, n: int) -> RowBatch:
        """Memory to `read` n rows into, again and again."""
        return self._filled_rows().rows_like(n)

    def sample(
        self,
        n: int,
        *,
        rate: Callable[[Tree], Tensor] | None = None,
        tasks: Tensor | None = None,
        device: torch.device | None = None,
    ) -> Tree:
        """Draw rows, and copy them: `read(draw(n, ...), device=device)`.

        Raises:
            ValueError: If the buffer is empty, `n` is less than 1, or `rate` is missing.
        """
        return self.read(self.draw(n, rate=rate, tasks=tasks), device=device)

    def all(self, *, device: torch.device | None = None) -> Tree:
        """Copies of all samples that are stored, in the order of their slots; see `read`."""
        return self.read(torch.arange(len(self)), device=device)

    def _filled_rows(self) -> RowStorage:
        if not len(self):
            raise BufferInputError("Cannot sample from an empty buffer; call `add` first.")
        return self.rows

    # After samples were replayed.

    def on_replayed(self, slots: Tensor, losses: Tensor) -> None:
        """Note the losses (n,) that rows (n,) had when they were replayed, for the policy.

        Raises:
            ValueError: If there is not one loss for each row.
        """
        if losses.shape != slots.shape:
            raise BufferInputError(f"There are {len(slots)} rows, but the losses are of shape {tuple(losses.shape)}.")
        self.policy.on_replayed(slots.cpu(), losses.detach().cpu())

    def refresh(self, features: Tensor) -> None:
        """Note new features (len, d) of all stored rows, in the order of `all`, for the sampler.

        Raises:
            ValueError: If there is not one feature vector for each row.
        """
        if features.dim() != 2 or len(features) != len(self):
            shape = tuple(features.shape)
            raise BufferInputError(f"There are {len(self)} rows, but the features are of shape {shape}.")
        self.sampler.refresh(features.detach().cpu())

    # Looking at it.

    def class_counts(self, leaf: str = "y") -> dict[int, int]:
        """Number of stored samples of each value of an integer leaf (), ascending.

        Raises:
            ValueError: If there is no such leaf.
        """
        if not len(self):
            return {}
        leaves = dict(flatten(self.rows.first(len(self))))
        if leaf not in leaves:
            raise BufferInputError(f"This buffer has no leaf {leaf!r}; it stores {', '.join(leaves)}.")
        names, counts = leaves[leaf].unique(return_counts=True)
        return dict(zip(names.tolist(), counts.tolist(), strict=True))

    def ages(self) -> Tensor:
        """Number of samples that came after each stored one (len,), int64, in the order of the slots."""
        return self.n_seen - 1 - self._statistics.arrivals[: len(self)].long()

    def slots_since(self, n_seen: int) -> Tensor:
        """The slots (k,) that were written since the buffer had seen `n_seen` samples, int64, ascending."""
        return (self._statistics.arrivals[: len(self)] >= n_seen).nonzero().view(-1)

    def draw_counts(self) -> Tensor:
        """Number of draws of each stored sample (len,), int64, in the order of the slots."""
        return self._statistics.draws[: len(self)].long()

    # Moving and saving it.

    def to(self, device: torch.device | str) -> Self:
        """Move the rows of the tiers `auto` and `cuda` to a device; rows of other tiers stay where they are."""
        self._storage.to(torch.device(device), len(self))
        return self

    def move(self, tier: str, device: torch.device) -> None:
        """Move the rows to a tier, whatever tier was chosen; `device` is the GPU of the tier `cuda`.

        Without room there they stay where they are, and a warning says so.
        """
        self._storage.move(tier, device, len(self))

    def state_dict(self) -> State:
        """A snapshot of tensors and plain values, from which `load_state_dict` continues exactly."""
        return self.bookkeeping() | {"rows": self._storage.snapshot(len(self))}

    def bookkeeping(self) -> State:
        """A snapshot without the rows."""
        return {
            "format": FORMAT,
            "capacity": self._capacity,
            "seed": self._seed,
            "step": self._n_draws,
            "policy": describe(self.policy) | self.policy.state_dict(),
            "sampler": describe(self.sampler) | self.sampler.state_dict(),
            "slot_statistics": self._statistics.state_dict(len(self)),
        }

    def spare_words(self, n_words: int) -> Tensor:
        """Words (n_words,) for copies of rows: in a file if the rows are to be in one, else on the host.

        Raises:
            StorageError: If they cannot be allocated.
        """
        return self._storage.spare_words(n_words)

    def mark(self, name: str) -> None:
        """Name the state of rows in shared memory, to which `recovered_rows` can go back; does nothing elsewhere.

        If there is no room for the journal, one warning says so.
        """
        self._storage.mark(name, len(self))

    def recovered_rows(self, bookkeeping: State, name: str) -> RowStorage | None:
        """Rows in shared memory that an earlier process has left, as they were at a mark; None without such.

        Args:
            bookkeeping: What `bookkeeping` returned then, and `rows`: samples (0, ...) of their layout, or None.
            name: Name of the mark.
        """
        samples, n = bookkeeping["rows"], len(bookkeeping["slot_statistics"]["arrivals"])
        return None if samples is None else self._storage.recovered(samples, bookkeeping["capacity"], name, n)

    def load_state_dict(self, state: State, recovered: RowStorage | None = None) -> None:
        """Continue from a snapshot; this buffer decides where its rows are kept.

        Args:
            state: The snapshot.
            recovered: Rows of `recovered_rows` that hold those of the snapshot already.

        Raises:
            ValueError: If the snapshot is damaged, or of a buffer of another capacity, policy or sampler. This buffer
                is then as it was before.
        """
        policy, sampler = restored_components(state, self.policy, self.sampler, self._capacity)
        capacity = state["capacity"] or 0
        storage, statistics = self._storage.restored(state["rows"], capacity, recovered), SlotStatistics(capacity)
        statistics.load_state_dict(state["slot_statistics"])
        self.policy, self.sampler = policy, sampler
        self._storage, self._statistics = storage, statistics
        self._capacity, self._seed, self._n_draws = state["capacity"], state["seed"], state["step"]
