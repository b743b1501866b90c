"""In which order the samples of the tasks come: one phase per task or one for all, abrupt, blurry or gradual."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from redwood.core.seeding import generator


@dataclass(frozen=True, eq=False)
class Entries:
    """A sequence of samples, by address.

    Attributes:
        rows: Row of the data set (n,).
        tasks: Task that the sample belongs to (n,); it decides the sample's transform and label.
    """

    rows: Tensor
    tasks: Tensor

    def __len__(self) -> int:
        """Number of samples n."""
        return len(self.rows)

    def __getitem__(self, index: Tensor) -> "Entries":
        """The entries at `index`, in that order."""
        return Entries(self.rows[index], self.tasks[index])

    @staticmethod
    def concatenate(parts: "Sequence[Entries]") -> "Entries":
        """Join sequences end to end."""
        return Entries(torch.cat([p.rows for p in parts]), torch.cat([p.tasks for p in parts]))


def task_entries(rows_per_task: Sequence[Tensor]) -> list[Entries]:
    """The entries of each task, from the rows (n_k,) of each."""
    return [Entries(rows, torch.full_like(rows, number)) for number, rows in enumerate(rows_per_task)]


def shuffled(entries: Entries, seed: int) -> Entries:
    """The same entries in random order."""
    return entries[torch.randperm(len(entries), generator=generator(seed))]


def blurry(tasks: Sequence[Entries], share: float, seed: int) -> list[Entries]:
    """Let a share of each task's samples turn up in the phases of the other tasks, in equal parts.

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
    """Let each task fade into the next: the share of the new one grows while that of the old one falls.

    A sample of task k appears at time k + u + width (v - 1/2), with u, v uniform in [0, 1], where a task lasts one
    unit of time; with `width=1` tasks k and k + 1 overlap during the whole of a unit around their boundary.
    """
    everything = Entries.concatenate(tasks)
    random = torch.rand(2, len(everything), generator=generator(seed), dtype=torch.float64)
    time = everything.tasks + random[0] + width * (random[1] - 0.5)
    return everything[torch.argsort(time)]


def batch_cuts(n_samples: int, batch_size: int, workers: int) -> Tensor:
    """Where to cut a sequence so that all workers take the same number of steps and no sample is lost.

    Worker w trains at step s on the samples from cut `s * workers + w` to the next cut. Every batch holds `batch_size`
    samples but the last step's, which share out what is left, sizes differing by at most one. If less than two samples
    a worker are left, the last two steps share out theirs: DDP hangs if one worker has a step more than another, and
    batch normalisation cannot train on a single sample.

    Args:
        n_samples: Length of the sequence, at least `workers`.
        batch_size: Samples per worker and step.
        workers: Number of workers.

    Returns:
        The cuts (steps * workers + 1,), from 0 to `n_samples`.

    Example:
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
        # Single samples cannot always be shared out in ceil(n / b) steps: then a batch of two makes up for it.
        parts = workers * min(-(-rest // whole), rest // workers)
        sizes = torch.cat([sizes, rest // parts + (torch.arange(parts) < rest % parts)])
    return torch.cat([torch.zeros(1, dtype=torch.long), sizes.cumsum(0)])


def split_evenly(n_samples: int, part: int, parts: int) -> slice:
    """The `part`-th of `parts` contiguous, nearly equal pieces of a sequence."""
    return slice(n_samples * part // parts, n_samples * (part + 1) // parts)
