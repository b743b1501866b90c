"""A generated data set whose samples have several labels, most of them rare, and tasks of its own."""

from pathlib import Path

import torch
from torch import Tensor

from redwood.core.seeding import generator
from redwood.settings.data.dataset import Dataset

N_LABELS, N_TASKS, N_FEATURES = 24, 4, 64
N_TRAIN, N_TEST = 4000, 2000
EXPONENT = 1.5
"""The share of label u is proportional to (u + 1)^-1.5."""
MOST_DRAWS = 4
NOISE = 0.3


def multi_label(data_dir: Path, seed: int, image_size: int) -> Dataset:
    """4,000 + 2,000 generated samples (64,) with up to four of 24 labels, in four tasks.

    Label u belongs to task u mod 4. The label set of a sample is one to four draws from its task's labels. Their shares
    are proportional to (u + 1)^-1.5: labels of a task come together, and most are rare. A sample is a sum of random
    directions, one for each label, and normal noise of standard deviation 0.3. Each direction has a random length
    between 0.7 and 1.3.

    `seed` draws all; `data_dir` is not read.
    """
    random = generator(seed, "multi-label")
    directions = torch.randn(N_LABELS, N_FEATURES, generator=random)
    directions = directions / directions.norm(dim=1, keepdim=True)
    shares = torch.arange(1, N_LABELS + 1, dtype=torch.float64) ** -EXPONENT
    parts = []
    for n in (N_TRAIN, N_TEST):
        first = torch.multinomial(shares, n, replacement=True, generator=random)
        y = _companions(first, shares, random)
        lengths = 0.7 + 0.6 * torch.rand(n, N_LABELS, generator=random)
        x = (y * lengths) @ directions + NOISE * torch.randn(n, N_FEATURES, generator=random)
        parts.append((x, y, first % N_TASKS))
    (x, y, tasks), (x_test, y_test, tasks_test) = parts
    return Dataset("multi_label", x, y, x_test, y_test, contexts=tasks, contexts_test=tasks_test)


def _companions(first: Tensor, shares: Tensor, random: torch.Generator) -> Tensor:
    """Label sets (n, L): the first label of each sample, and none to three further draws from its task's labels."""
    odds = shares * (first[:, None] % N_TASKS == torch.arange(N_LABELS) % N_TASKS)
    draws = torch.multinomial(odds, MOST_DRAWS - 1, replacement=True, generator=random)
    count = torch.randint(MOST_DRAWS, (len(first), 1), generator=random)
    y = torch.zeros(len(first), N_LABELS, dtype=torch.bool)
    y[torch.arange(len(first)), first] = True
    drawn = torch.where(torch.arange(MOST_DRAWS - 1) < count, draws, first[:, None])
    return y.scatter_(1, drawn, True)
