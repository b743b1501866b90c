"""Streams that several workers share, and moves of their buffers to other numbers of workers without any file."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from redwood.buffers import RehearsalBuffer
from redwood.buffers.distributed.checkpoint import Snapshot, take_snapshot
from redwood.buffers.distributed.resharding import reshard
from redwood.buffers.layout import WORD
from redwood.buffers.pytree import flatten
from tests.buffers.helpers import equal, features_of, losses_of, shuffled

Maker = Callable[[int], RehearsalBuffer]


TOTAL = 48
LABELS = shuffled([0] * 60 + [1] * 60 + [2] * 40 + [3] * 40 + [4] * 20 + [5] * 3)


def contents(ids: Tensor) -> dict[str, Any]:
    """Leaves of many dtypes and shapes that follow from the numbers of the samples."""
    pixels = (ids[:, None] * torch.arange(1, 8) * 37) % 251
    return {
        "x": pixels.to(torch.uint8).view(-1, 7, 1),
        "logits": torch.sin(pixels.double()).to(torch.bfloat16),
        "pair": (ids.float().sqrt(), ids % 3 == 0),
        "nothing": torch.zeros(len(ids), 0),
    }


def offer(buffer: RehearsalBuffer, ids: Tensor, labels: Tensor) -> None:
    """Add samples of these numbers (n,) and classes (n,), or label sets (n, L); tasks have two classes each."""
    told = {"labels": labels, "losses": losses_of(ids), "features": features_of(ids)}
    tasks = (labels if labels.dim() == 1 else labels.int().argmax(1)) // 2
    buffer.add({"id": ids, "y": labels, "task_id": tasks} | contents(ids), **told)


def share_stream(buffers: Sequence[RehearsalBuffer], labels: Tensor, start: int = 0, batch: int = 5) -> None:
    """Add samples numbered from `start`: each worker takes the next batch in turn."""
    for turn, first in enumerate(range(0, len(labels), batch)):
        y = labels[first : first + batch]
        offer(buffers[turn % len(buffers)], torch.arange(start + first, start + first + len(y)), y)


def filled(snapshots: Sequence[Snapshot], buffer: RehearsalBuffer, rank: int, world: int) -> RehearsalBuffer:
    """The buffer with the share of one worker."""
    moved = reshard([snapshot.state for snapshot in snapshots], buffer, rank, world)
    rows = None
    if moved.layout is not None:
        words = torch.empty(len(moved.rows), moved.layout.words, dtype=WORD)
        saved = [row for snapshot in snapshots for row in snapshot.words]
        for place, row in enumerate(moved.rows.tolist()):
            words[place] = saved[row]
        rows = moved.layout.typed(words)
    buffer.load_state_dict(moved.state | {"rows": rows})
    return buffer


def move(buffers: Sequence[RehearsalBuffer], make: Maker, world: int) -> list[RehearsalBuffer]:
    """The buffers of other workers, with all that these ones store."""
    snapshots = [take_snapshot(buffer, {}) for buffer in buffers]
    return [filled(snapshots, make(rank), rank, world) for rank in range(world)]


def ids_of(buffers: Sequence[RehearsalBuffer]) -> list[int]:
    """Numbers of all samples stored, ascending."""
    return sorted(i for buffer in buffers if len(buffer) for i in buffer.all()["id"].tolist())


def is_intact(buffer: RehearsalBuffer) -> bool:
    """Whether all leaves of each sample are those of its number."""
    samples = buffer.all()
    wanted = contents(samples["id"])
    found = {name: samples[name] for name in wanted}
    return equal([leaf for _, leaf in flatten(found)], [leaf for _, leaf in flatten(wanted)])


def class_counts(buffer: RehearsalBuffer, n_classes: int) -> list[int]:
    counts = buffer.class_counts()
    return [counts.get(name, 0) for name in range(n_classes)]


def maker(world: int, policy: str = "reservoir", sampler: str = "uniform", total: int = TOTAL, seed: int = 0) -> Maker:
    """Makes the buffers of so many workers, which have so many slots together."""

    def make(rank: int) -> RehearsalBuffer:
        capacity = total // world + (rank < total % world)
        return RehearsalBuffer(capacity, policy=policy, sampler=sampler, seed=100 * seed + rank)

    return make


def all_the_way(
    way: list[int], policy: str, sampler: str, labels: Tensor = LABELS, batch: int = 5
) -> list[list[RehearsalBuffer]]:
    """The buffers at each station of a way."""
    stations = [[maker(way[0], policy, sampler)(rank) for rank in range(way[0])]]
    share_stream(stations[0], labels, batch=batch)
    for world in way[1:]:
        stations.append(move(stations[-1], maker(world, policy, sampler), world))
    return stations
