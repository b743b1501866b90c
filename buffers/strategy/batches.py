"""What the strategy has to know of a stranger's batches."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from redwood.buffers.tree import flatten, rebuild

LABELS = ("y", "label", "labels", "target", "targets")
TASKS = ("task_id", "task", "tasks", "task_ids")


def labels_of(batch: Any) -> Tensor | None:
    """The labels of a batch: its `y`, `label(s)` or `target(s)`, or the second of a pair; None if there are none."""
    named = _named(batch, LABELS)
    if named is None and isinstance(batch, list | tuple) and len(batch) == 2 and isinstance(batch[1], Tensor):
        return batch[1]
    return named


def tasks_of(batch: Any) -> Tensor | None:
    """The tasks of a batch: its `task_id(s)` or `task(s)`; None if there are none."""
    return _named(batch, TASKS)


def _named(batch: Any, names: tuple[str, ...]) -> Tensor | None:
    for name in names:
        found = batch.get(name) if isinstance(batch, Mapping) else getattr(batch, name, None)
        if isinstance(found, Tensor):
            return found
    return None


def merged(batch: Any, replayed: Any) -> Any:
    """A batch of the same structure: its samples (b, ...) first, then the replayed ones (r, ...).

    Raises:
        ValueError: If a leaf of both is not of one dtype and sample shape.
    """
    pairs = list(zip(flatten(batch), flatten(replayed), strict=True))
    for (path, incoming), (_, old) in pairs:
        if incoming.dtype != old.dtype or incoming.shape[1:] != old.shape[1:]:
            raise ValueError(
                f"Leaf {path} of the incoming samples is {tuple(incoming.shape[1:])} {incoming.dtype}, that of the "
                f"replayed ones {tuple(old.shape[1:])} {old.dtype}; let on_after_batch_transfer make them alike."
            )
    return rebuild(batch, iter([torch.cat([incoming, old]) for (_, incoming), (_, old) in pairs]))


def shell(batch: Any, *, copied: bool = False) -> Any:
    """The same tensors, or copies, in new containers, which hooks that change a batch in place leave alone."""
    return rebuild(batch, iter([leaf.clone() if copied else leaf for _, leaf in flatten(batch)]))
