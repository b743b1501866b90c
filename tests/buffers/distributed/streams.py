"""What comes in on each of several workers, step by step: numbers of samples."""

import torch
from torch import Tensor

from tests.buffers.distributed.recorder import CLASSES_PER_TASK

NOTHING = range(0)


def filling(sizes: list[int], n_more: int, batch_size: int = 7) -> list[list[range]]:
    """As many samples as told for each worker, and then nothing for some steps; some have nothing before others."""
    n_steps, start, offered = -(-max(sizes) // batch_size) + n_more, 0, []
    for size in sizes:
        end = start + size
        batches = [range(first, min(first + batch_size, end)) for first in range(start, end, batch_size)]
        offered.append(batches + [NOTHING] * (n_steps - len(batches)))
        start = end
    return offered


def ragged(world: int, n_steps: int) -> list[list[range]]:
    """Batches of 0 to 10 samples on each worker, which differ in size all the time."""
    sizes = torch.randint(11, (n_steps, world), generator=torch.Generator().manual_seed(n_steps + world))
    ends = sizes.flatten().cumsum(0).view_as(sizes)
    starts = ends - sizes
    return [list(map(range, starts[:, rank].tolist(), ends[:, rank].tolist())) for rank in range(world)]


def count(offered: list[list[range]]) -> int:
    """How many samples there are."""
    return sum(len(batch) for batches in offered for batch in batches)


def in_tasks(n: int, n_classes: int) -> Tensor:
    """Labels (n,) of a stream in which every class of a task comes at once, and tasks come one after the other."""
    num_tasks = n_classes // CLASSES_PER_TASK
    tasks = torch.arange(n) * num_tasks // n
    return tasks * CLASSES_PER_TASK + torch.arange(n) * 7 % CLASSES_PER_TASK
