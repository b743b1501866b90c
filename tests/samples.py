"""Small data sets whose samples can be told apart."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from redwood.settings.data.dataset import Dataset
from redwood.settings.data.image_sets import digits

N_CLASSES, N_TRAIN, N_TEST = 6, 66, 36
FIRST_TEST_VALUE = 1000


def numbered(contexts: int | None = None, n_train: int = N_TRAIN, n_test: int = N_TEST) -> Dataset:
    """Sample i is (i, -i), test samples count from 1000; random labels, each class alike often."""
    generator = torch.Generator().manual_seed(5)
    ids, ids_test = torch.arange(n_train), FIRST_TEST_VALUE + torch.arange(n_test)
    y, y_test = (torch.randperm(n, generator=generator) % N_CLASSES for n in (n_train, n_test))
    t = t_test = None
    if contexts is not None:
        t, t_test = (torch.randperm(n, generator=generator) % contexts for n in (n_train, n_test))
    pairs, pairs_test = (torch.stack([i, -i], dim=1).float() for i in (ids, ids_test))
    return Dataset("numbered", pairs, y, pairs_test, y_test, t, t_test)


def few_digits(n_train: int = 160, n_test: int = 100) -> Dataset:
    """The first of scikit-learn's digits."""
    data = digits(None, seed=0, image_size=0)  # type: ignore[arg-type]
    first, first_test = torch.arange(n_train), torch.arange(n_test)
    return Dataset(
        "few_digits", data.x[first], data.y[first], data.x_test[first_test], data.y_test[first_test], max_value=16
    )


def save_digits(path: Path, classes: list[int], data: Dataset, tasks: int | None = None) -> Path:
    """Write the digits of some classes, which are called by their number; `tasks` of them if they have their own."""
    arrays: dict[str, Any] = {}
    for split, x, y in (("", data.x, data.y), ("_test", data.x_test, data.y_test)):
        own = torch.isin(y, torch.tensor(classes))
        arrays |= {f"x{split}": x[own].numpy(), f"y{split}": y[own].numpy().astype(str)}
        if tasks is not None:
            arrays[f"t{split}"] = np.arange(len(arrays[f"y{split}"])) % tasks
    np.savez(path, **arrays)
    return path
