"""Small data sets whose targets are numbers."""

import torch

from redwood.settings.data.dataset import Dataset

WEIGHTS = torch.tensor([1.0, -2.0, 0.5])


def line(n_train: int = 90, n_test: int = 60, components: int = 0, noise: float = 0.0) -> Dataset:
    """y = x w (or, of several components, its multiples) and normal noise; x of three features, standard normal."""
    generator = torch.Generator().manual_seed(3)
    parts = []
    for n in (n_train, n_test):
        x = torch.randn(n, 3, generator=generator)
        y = x @ WEIGHTS + noise * torch.randn(n, generator=generator)
        parts += [x, y[:, None] * torch.arange(1.0, components + 1) if components else y]
    return Dataset.from_arrays(*parts, name="line")
