"""The order of the samples of all tasks: one phase per task or one for all; abrupt, blurry or gradual changes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from redwood.core.seeding import generator
from redwood.settings.data.entries import Entries


def task_entries(rows_per_task: Sequence[Tensor]) -> list[Entries]:
    """The entries of each task, from the rows (n_k,) of each."""
    return [Entries(rows, torch.full_like(rows, number)) for number, rows in enumerate(rows_per_task)]


def shuffled(entries: Entries, seed: int) -> Entries:
    """The same entries in random order."""
    return entries[torch.randperm(len(entries), generator=generator(seed))]


def blurry(tasks: Sequence[Entries], share: float, seed: int) -> list[Entries]:
    """Move a share of each task's samples to the phases of the other tasks, in equal parts.

    Blurry task boundaries (Bang et al., 2021, "Rainbow Memory", section 3): phase k mostly holds task k.
    """
    if len(tasks) == 1:
        return list(tasks)
    phases: list[list[Entries]] = [[] for _ in tasks]
    for number, entries in enumerate(tasks):
        mixed = shuffled(entries, seed + number)
        moved = round(share * len(mixed))
        target = (number + 1 + torch.arange(moved) % (len(tasks) - 1)) % len(tasks)
        for phase, parts in enumerate(phases):
            parts.append(mixed[(target == phase).nonzero().flatten()])
        phases[number].append(mixed[torch.arange(moved, len(mixed))])
    return [Entries.concatenate(parts) for parts in phases]


def abrupt(phases: Sequence[Entries], seed: int) -> Entries:
    """One phase after the other, each shuffled within itself."""
    return Entries.concatenate([shuffled(entries, seed + number) for number, entries in enumerate(phases)])


def gradual(tasks: Sequence[Entries], width: float, seed: int) -> Entries:
    """Let each task fade into the next: the share of the new task grows while the share of the old task falls.

    A task lasts one unit of time. A sample of task k appears at time k + u + width (v - 1/2), with u, v uniform in
    [0, 1]. With `width=1`, tasks k and k + 1 overlap for one whole unit around their boundary.
    """
    everything = Entries.concatenate(tasks)
    random = torch.rand(2, len(everything), generator=generator(seed), dtype=torch.float64)
    time = everything.tasks + random[0] + width * (random[1] - 0.5)
    return everything[torch.argsort(time)]


def batch_cuts(n_samples: int, batch_size: int, workers: int) -> Tensor:
    """The cuts of a sequence into batches: all workers take the same number of steps, and no sample is lost.

    Worker w trains at step s on the samples from cut `s * workers + w` to the next cut. Every batch holds `batch_size`
    samples, except in the last step. There the workers divide the rest; sizes differ by at most one. If the rest is
    less than two samples per worker, the last two steps are divided together. For DDP hangs if one worker has more
    steps than another, and batch normalisation cannot train on a single sample.

    Args:
        n_samples: Length of the sequence, at least `workers`.
        batch_size: Samples per worker and step.
        workers: Number of workers.

    Returns:
        The cuts (steps * workers + 1,), from 0 to `n_samples`.

    Examples:
        >>> batch_cuts(10, 4, workers=1).tolist(), batch_cuts(9, 4, workers=2).tolist()
        ([0, 4, 8, 10], [0, 3, 5, 7, 9])
    """
    assert n_samples >= workers
    whole = batch_size * workers
    full_steps, rest = divmod(n_samples, whole)
    if full_steps and 0 < rest < 2 * workers:
        full_steps, rest = full_steps - 1, rest + whole
    sizes = torch.full((full_steps * workers,), batch_size)
    if rest:
        # ceil(n / b) steps would sometimes leave single samples; a batch of two avoids that.
        parts = workers * min(-(-rest // whole), rest // workers)
        sizes = torch.cat([sizes, rest // parts + (torch.arange(parts) < rest % parts)])
    return torch.cat([torch.zeros(1, dtype=torch.long), sizes.cumsum(0)])


def workers_of_places(cuts: Tensor, workers: int) -> Tensor:
    """The worker that each place of a sequence belongs to (n,), from the cuts of `batch_cuts`."""
    return (torch.arange(len(cuts) - 1) % workers).repeat_interleave(cuts.diff())
