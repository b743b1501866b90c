"""Batches of any structure: their labels and tasks, and their way through a step."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from redwood.buffers.layout import batch_size
from redwood.buffers.pytree import Tree, flatten, unflatten
from redwood.core.errors import BufferInputError


@dataclass
class BatchRecord:
    """One training batch on its way through the hooks of Lightning.

    Attributes:
        samples: The incoming samples as the loader gave them, until they are proposed to the buffer.
        structure: A tree of the structure of `samples`; its leaves are numbers.
        is_repeated: Whether the batch only fills up an epoch that other workers have not ended yet.
        to_write: The incoming samples, where the buffer takes them from, until then.
        batch: What the module's hooks made of the batch.
        replayed: The samples drawn for this step, as they were stored; None if there are none.
        merged: The batch to train on; None if it is the incoming one.
        extras: What the module handed in with `add_extras`.
        unwritten: Samples that the buffer knows of, but that are not written yet.
    """

    samples: Tree
    structure: Tree
    is_repeated: bool
    to_write: Tree = None
    batch: Tree = None
    replayed: Tree = None
    merged: Tree = None
    extras: dict[str, Tensor] = field(default_factory=dict)
    unwritten: Tree = None


LABELS = ("y", "label", "labels", "target", "targets")
TASKS = ("task_id", "task", "tasks", "task_ids")


def labels_of(batch: Tree) -> Tensor | None:
    """The labels of a batch: its `y`, `label(s)` or `target(s)`, or the second of a pair; None if there are none."""
    named = _named(batch, LABELS)
    if named is None and isinstance(batch, list | tuple) and len(batch) == 2 and isinstance(batch[1], Tensor):
        return batch[1]
    return named


def tasks_of(batch: Tree) -> Tensor | None:
    """The tasks of a batch: its `task_id(s)` or `task(s)`; None if there are none."""
    return _named(batch, TASKS)


def _named(batch: Tree, names: tuple[str, ...]) -> Tensor | None:
    for name in names:
        found = batch.get(name) if isinstance(batch, Mapping) else getattr(batch, name, None)
        if isinstance(found, Tensor):
            return found
    return None


def stored_part(samples: Tree) -> Tree:
    """The samples themselves, if they can be stored.

    Raises:
        ValueError: If they are no tree of tensors (B, ...) with one B.
    """
    try:
        batch_size(list(flatten(samples)))
    except ValueError as error:
        raise BufferInputError(
            f"{str(error).rstrip('.')}; override samples_of and merge of the strategy to choose what of a batch is "
            "stored and replayed."
        ) from error
    return samples


def in_new_containers(batch: Tree) -> Tree:
    """The same tensors in new containers, which hooks that change a batch in place do not reach."""
    return unflatten(batch, iter([leaf for _, leaf in flatten(batch)]))
