"""Jobs for workers that share a buffer: which rows each of them drew, from what, and whether they were intact."""

import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils._pytree import tree_map

from redwood.buffers import AsyncRehearsalBuffer, RehearsalBuffer

CLASSES_PER_TASK = 4
DTYPES = (torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.int64, torch.bool)


class Record(NamedTuple):
    """What one worker saw in each of T steps.

    Attributes:
        drawn: Numbers of the samples that were replayed (r',).
        stored: Numbers of the samples that it stored when these were drawn, in the order of their slots.
        incoming: Samples that came in.
        weights: What its mean loss would have been multiplied by.
        capacity: Samples that it has room for.
    """

    drawn: list[Tensor]
    stored: list[Tensor]
    incoming: list[int]
    weights: list[float]
    capacity: int


def samples(ids: Tensor, labels: Tensor) -> dict[str, Any]:
    """A tree whose leaves of all dtypes and of many shapes follow from the numbers of the samples."""
    pattern = ids[:, None] * 7919 + torch.arange(1, 16)
    return {
        "id": ids,
        "y": labels[ids],
        "task_id": labels[ids] // CLASSES_PER_TASK,
        "x": (pattern % 251).to(torch.uint8).view(-1, 3, 5),
        "extra": [(pattern[:, : 2 + i] % 127).to(dtype) for i, dtype in enumerate(DTYPES)],
        "pair": (pattern[:, 0] % 3 == 0, pattern[:, 0].float() / 3),
    }


def leaves(tree: Any) -> list[Tensor]:
    """The tensors of a tree, in order."""
    if isinstance(tree, Tensor):
        return [tree]
    return [leaf for branch in (tree.values() if isinstance(tree, dict) else tree) for leaf in leaves(branch)]


def checked(replayed: Any, labels: Tensor) -> Tensor:
    """Numbers of replayed samples (r,), once each leaf is found to be the one of the sample of that number."""
    ids: Tensor = replayed["id"].cpu().clone()
    for got, wanted in zip(leaves(replayed), leaves(samples(ids, labels)), strict=True):
        assert got.dtype == wanted.dtype
        assert torch.equal(got.cpu(), wanted)
    return ids


def stored_by(buffer: RehearsalBuffer) -> Tensor:
    """Numbers of the samples that a buffer holds (len,)."""
    return buffer.all()["id"].cpu() if len(buffer) else torch.empty(0, dtype=torch.int64)


def record(options: dict[str, Any], labels: Tensor, offered: Sequence[Sequence[range]], device: str = "cpu") -> Record:
    """Train for some steps without a model.

    Args:
        options: Arguments of the buffer.
        labels: Class of each sample, by its number.
        offered: Numbers of the samples that come in, for each worker and step.
        device: Where they come in.
    """
    own = offered[dist.get_rank() if dist.is_initialized() else 0]
    memory = AsyncRehearsalBuffer(**options)
    memory.open(device=device)
    found = Record([], [], [], [], memory.buffer.capacity)
    replayed = None
    with contextlib.closing(memory):
        for numbers in own:
            before, replayed = replayed, memory.collect()
            # What was drawn for the last step is there until this one hands something in.
            assert before is None or torch.equal(checked(before, labels), found.drawn[-1])
            # The last step is over, this one has handed in nothing yet: what is stored is what was drawn from.
            found.drawn.append(torch.empty(0, dtype=torch.int64) if replayed is None else checked(replayed, labels))
            found.stored.append(stored_by(memory.buffer))
            batch = samples(torch.arange(numbers.start, numbers.stop), labels)
            memory.add(tree_map(lambda leaf: leaf.to(device), batch), labels=batch["y"], tasks=batch["task_id"])
            found.incoming.append(len(numbers))
            found.weights.append(memory.weight())
    return found
