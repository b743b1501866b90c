"""How a sequence of samples is cut into mini-batches, and these are shared out to workers."""

import torch
from torch import Tensor


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
