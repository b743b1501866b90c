"""Re-sharding: the samples of some workers are distributed to another number of workers."""

from collections.abc import Mapping, Sequence
from copy import copy
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from redwood.buffers.buffer import RehearsalBuffer
from redwood.buffers.layout import RowLayout
from redwood.buffers.policies import CandidateInfo
from redwood.buffers.pytree import Tree, to_plain
from redwood.buffers.randomness import derive_key
from redwood.buffers.slot_statistics import narrowed
from redwood.buffers.state_validation import FORMAT, describe, restored_components
from redwood.core.errors import BufferInputError
from redwood.core.state import State


class Resharded(NamedTuple):
    """The part of one worker.

    Attributes:
        state: For `RehearsalBuffer.load_state_dict`, without `rows`.
        layout: How the rows lie in memory; None if there never were any.
        rows: The saved row of each new slot (k,), int64; rows are numbered one saved worker after the other.
        dealt_to: The worker that each saved row is for (M,), int32; its policy may give it up.
    """

    state: State
    layout: RowLayout | None
    rows: Tensor
    dealt_to: Tensor


def reshard(states: Sequence[State], buffer: RehearsalBuffer, rank: int, world: int) -> Resharded:
    """Rows that one worker keeps; every worker computes the same split.

    Rows are distributed class by class (and task by task) in the order of their arrival, if policy or sampler know
    these. The numbers of rows of two workers, in all and of each class, differ by at most one; lower ranks get the
    additional row. If a worker has not enough room, its policy decides which rows to keep. The seed is new, since a
    policy must not use the same random numbers twice.

    Args:
        states: `RehearsalBuffer.bookkeeping` of each worker before, and `rows`: samples (0, ...), or None.
        buffer: The new buffer of this worker, which is left as it is.
        rank: Number of this worker.
        world: Number of workers now.

    Raises:
        ValueError: If the states are damaged, of another policy or sampler than the buffer's, or of different layouts,
            or if policy or sampler cannot serve another number of workers.
    """
    parts = [restored_components(_with_blank_rows(state), buffer.policy, buffer.sampler, None) for state in states]
    policies, samplers = [policy for policy, _ in parts], [sampler for _, sampler in parts]
    total = sum(policy.n_seen for policy in policies)
    draws = torch.cat([state["slot_statistics"]["draws"] for state in states])
    # Workers take turns: the place of a sample in its worker's stream gives its place in the stream of all workers.
    times = torch.cat(
        [
            _scaled(state["slot_statistics"]["arrivals"], total, policy.n_seen)
            for state, policy in zip(states, policies, strict=True)
        ]
    )
    metadata = _joined([policy.slot_metadata() for policy in policies])
    row_metadata = _joined([sampler.slot_metadata() for sampler in samplers])
    dealt_to = _dealt(row_metadata | metadata, times, world)
    mine = (dealt_to == rank).nonzero().view(-1)
    mine = mine[times[mine].argsort(stable=True)]

    layout = _common_layout([state["rows"] for state in states])
    capacity = buffer.capacity if layout is None else buffer.n_rows(layout)
    seed = derive_key(*(state["seed"] for state in states), "resharded", world, rank)
    policy, sampler = copy(buffer.policy), copy(buffer.sampler)
    policy.bind(capacity, seed)
    sampler.bind(seed)
    if policy.classes is not None:
        sampler.use_classes(policy.classes)
    info = CandidateInfo(len(mine), **{name: known[mine] for name, known in metadata.items()})
    placement = policy.resume(info, policies, _Turns(rank, world, len(times)).share)
    order = placement.slots.argsort()
    mine = mine[placement.positions[order]]
    sampler.resume(placement.slots[order], {name: known[mine] for name, known in row_metadata.items()}, samplers)
    arrivals = _scaled(times[mine], policy.n_seen, total)
    state = {
        "format": FORMAT,
        "capacity": capacity or None,
        "seed": seed,
        "step": max(state["step"] for state in states),
        "policy": describe(policy) | policy.state_dict(),
        "sampler": describe(sampler) | sampler.state_dict(),
        "slot_statistics": {"arrivals": narrowed(arrivals, policy.n_seen), "draws": draws[mine]},
    }
    return Resharded(state, layout, mine, dealt_to)


def _with_blank_rows(state: State) -> State:
    """The state, with rows that take no memory."""
    n = len(state["slot_statistics"]["arrivals"])
    rows = state["rows"]
    blank = rows if rows is None else to_plain(rows, lambda leaf: leaf.new_zeros(()).expand(n, *leaf.shape[1:]))
    return {**state, "rows": blank}


def _common_layout(samples: Sequence[Tree]) -> RowLayout | None:
    layouts = [RowLayout.of(some) for some in samples if some is not None]
    for layout in layouts:
        if layout.leaves != layouts[0].leaves:
            raise BufferInputError(
                f"Some workers saved the leaves {_leaves_of(layouts[0])}, others {_leaves_of(layout)}; "
                f"resume on {len(samples)} workers."
            )
    return layouts[0] if layouts else None


def _leaves_of(layout: RowLayout) -> str:
    return ", ".join(f"{leaf.path} {leaf.shape} {leaf.dtype}" for leaf in layout.leaves)


def _scaled(times: Tensor, total: int, n: int) -> Tensor:
    """Places (...) in a stream of `n` samples, scaled to a stream of `total` samples."""
    return (times.double() * (total / max(1, n))).long()


def _joined(metadata: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The metadata of the rows of all workers, one worker after the other."""
    joined = {}
    for name in metadata[0]:
        known = [one[name] for one in metadata]
        if known[0].dim() == 2:  # label sets grow with new labels; without a sample there are no features
            width = max(one.shape[1] for one in known)
            known = [pad(one, (0, width - one.shape[1])) for one in known]
        joined[name] = torch.cat(known)
    return joined


def _dealt(metadata: Mapping[str, Tensor], times: Tensor, world: int) -> Tensor:
    """The worker that gets each row (M,), int32."""
    order = times.argsort(stable=True)
    for key in _sort_keys(metadata):
        order = order[key[order].argsort(stable=True)]
    dealt_to = torch.empty(len(order), dtype=torch.int32)
    dealt_to[order] = torch.arange(len(order), dtype=torch.int32) % world
    return dealt_to


def _sort_keys(metadata: Mapping[str, Tensor]) -> list[Tensor]:
    """The keys that rows are sorted by, the least important one first: classes and tasks lie together."""
    keys = [metadata["tasks"]] if "tasks" in metadata else []
    if "labels" in metadata:
        labels = metadata["labels"] if metadata["labels"].numel() else torch.zeros(len(metadata["labels"]))
        classes = labels
        if labels.dim() == 2:  # each label set is a class of its own
            classes = labels.unique(dim=0, return_inverse=True)[1]
        keys.append(classes)
        if "tasks" in metadata:  # classes of one task after each other
            classes = classes.unique(return_inverse=True)[1]
            first = torch.full_like(classes, torch.iinfo(torch.int64).max)
            keys.append(first.scatter_reduce(0, classes, metadata["tasks"].long(), "amin")[classes])
    return keys


class _Turns:
    """Distributes samples to workers in turn, and continues where it stopped."""

    def __init__(self, rank: int, world: int, n_dealt: int) -> None:
        self._rank, self._world, self._n_dealt = rank, world, n_dealt

    def share(self, n: int) -> int:
        """The number of samples, out of the next `n`, that this worker gets."""
        before = (self._rank - self._n_dealt) % self._world
        self._n_dealt += n
        return max(0, -(-(n - before) // self._world))
