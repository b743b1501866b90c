"""A small data set whose samples have several labels."""

import torch

from redwood.settings.data.dataset import Dataset

N_LABELS = 6


def few_label_sets(n_train: int = 120, n_test: int = 90, contexts: bool = True) -> Dataset:
    """Samples (8,): a direction for each label, and noise. Label 0 is in every second sample, label 5 in a few.

    Task 0 has labels 0, 2 and 4, task 1 the others; without `contexts` all samples may have all labels.
    """
    generator = torch.Generator().manual_seed(4)
    directions = torch.randn(N_LABELS, 8, generator=generator)
    shares = torch.tensor([0.9, 0.5, 0.3, 0.3, 0.1, 0.1])
    parts = []
    for n in (n_train, n_test):
        y = torch.rand(n, N_LABELS, generator=generator) < shares
        tasks = torch.arange(n) % 2
        if contexts:
            y &= torch.arange(N_LABELS) % 2 == tasks[:, None]
        parts += [y.float() @ directions + 0.2 * torch.randn(n, 8, generator=generator), y, tasks]
    x, y, t, x_test, y_test, t_test = parts
    if not contexts:
        return Dataset.from_arrays(x, y, x_test, y_test, name="few_label_sets")
    return Dataset.from_arrays(x, y, x_test, y_test, t, t_test, name="few_label_sets")
