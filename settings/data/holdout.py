"""Hold out test samples where a data source has no test split."""

from math import ceil

import numpy as np
import torch
from torch import Tensor

from redwood.core.errors import DataError

TEST_SHARE = 0.2
"""Share of the samples that is held out."""


def hold_out(name: str, strata: np.ndarray, seed: int) -> tuple[Tensor, Tensor]:
    """Split samples into training and test, each stratum in the same proportion.

    The samples are those that scikit-learn's `train_test_split(stratify=...)` draws; its import takes half a second.

    Args:
        name: Name of the data set, for the error message.
        strata: Stratum of each sample (N,), its class for example.
        seed: Draws the test samples.

    Returns:
        Index of the training samples (about 4N/5,) and of the test samples (about N/5,), int64, shuffled.

    Raises:
        DataError: If a stratum has a single sample, which cannot be on both sides.
    """
    present = _strata_to_split(name, strata)
    # Many small strata need more than the usual share, or some would have no test sample at all.
    n_test = max(ceil(TEST_SHARE * len(strata)), len(present))
    random = np.random.RandomState(seed)
    numbers, sizes = np.unique(strata, return_inverse=True, return_counts=True)[1:]
    n_train_of = _shares(sizes, len(strata) - n_test, random)
    n_test_of = _shares(sizes - n_train_of, n_test, random)
    train, test = [], []
    members = np.split(np.argsort(numbers, kind="stable"), sizes.cumsum()[:-1])
    for places, for_training, for_test in zip(members, n_train_of, n_test_of, strict=True):
        mixed = places[random.permutation(len(places))]
        train.append(mixed[:for_training])
        test.append(mixed[for_training : for_training + for_test])
    mixed_train, mixed_test = (random.permutation(np.concatenate(parts)) for parts in (train, test))
    return torch.from_numpy(mixed_train), torch.from_numpy(mixed_test)


def _shares(sizes: np.ndarray, n: int, random: np.random.RandomState) -> np.ndarray:
    """How many (K,) of `n` samples to draw from strata of these sizes (K,), in proportion.

    What rounding down leaves goes to the strata with the largest remainders; equal ones draw lots.
    """
    exact = sizes / sizes.sum() * n
    counts: np.ndarray = np.floor(exact).astype(np.int64)
    left, remainders = n - int(counts.sum()), exact - counts
    for remainder in np.unique(remainders)[::-1]:
        if left == 0:
            break
        equal = np.flatnonzero(remainders == remainder)
        chosen = random.choice(equal, size=min(len(equal), left), replace=False)
        counts[chosen] += 1
        left -= len(chosen)
    return counts


def hold_out_along(name: str, strata: np.ndarray, order: np.ndarray, seed: int) -> tuple[Tensor, Tensor]:
    """Hold out one of about five consecutive samples of each stratum, so that every stretch of time has test samples.

    Args:
        name: Name of the data set, for the error message.
        strata: Stratum of each sample (N,), its task for example.
        order: The samples (N,) in the order of time.
        seed: Draws which of the consecutive samples is held out.

    Returns:
        Index of the training samples and of the test samples, int64, in the order of time.

    Raises:
        DataError: If a stratum has a single sample, which cannot be on both sides.
    """
    random = np.random.default_rng(seed)
    is_test = np.zeros(len(order), dtype=bool)
    for stratum in _strata_to_split(name, strata):
        places = np.flatnonzero(strata[order] == stratum)
        groups = max(round(TEST_SHARE * len(places)), 1)
        cuts = len(places) * np.arange(groups + 1) // groups
        is_test[places[random.integers(cuts[:-1], cuts[1:])]] = True
    return torch.from_numpy(order[~is_test]), torch.from_numpy(order[is_test])


def hold_out_rows(name: str, classes: np.ndarray, tasks: np.ndarray, along: np.ndarray | None, seed: int) -> np.ndarray:
    """Return a mask (N,), bool, of the rows to hold out: the same share of each class in each task.

    A class may have a single row in a task. All such rows of a task are held out as if they were of one class. A row
    that is also the first of its class in the data is never held out.

    Args:
        name: Name of the data set, for the error message.
        classes: Class of each row (N,); zeros if there are none.
        tasks: Task of each row (N,); zeros if there are none.
        along: The rows (N,) in the order of time, if test rows have to lie all along it.
        seed: Draws the rows.

    Raises:
        DataError: If there are too few rows.
    """
    check_any(name, len(classes))
    rare = _alone(np.stack([tasks, classes], axis=1))
    first = np.zeros(len(classes), dtype=bool)
    first[np.unique(classes, return_index=True)[1]] = True
    strata = np.stack([tasks, np.where(rare, -1, classes), first & rare], axis=1)
    places = np.flatnonzero(~_alone(strata) & ~(first & rare))
    numbers = np.unique(strata[places], axis=0, return_inverse=True)[1].reshape(-1)
    if along is None:
        test = hold_out(name, numbers, seed)[1]
    else:
        order = np.searchsorted(places, along[np.isin(along, places)])
        test = hold_out_along(name, numbers, order, seed)[1]
    is_test = np.zeros(len(classes), dtype=bool)
    is_test[places[test.numpy()]] = True
    return is_test


def check_any(name: str, n: int) -> None:
    """Check that there are samples to hold out of."""
    if not n:
        raise DataError(f"Data set {name}: there are no samples to learn from and to test on; add some.")


def _alone(keys: np.ndarray) -> np.ndarray:
    """Return a mask (N,), bool, of the rows of keys (N, k) that are equal to no other row."""
    _, numbers, counts = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
    return np.asarray(counts[numbers.reshape(-1)] == 1)


def rarest_label(sets: np.ndarray) -> np.ndarray:
    """The stratum (N,) of each label set (N, L), bool: its rarest label, or L if it has none.

    A sample that would be alone in its stratum joins the largest one.
    """
    counts = np.where(sets, sets.sum(0), len(sets) + 1)
    rarest = np.where(sets.any(1), counts.argmin(1), sets.shape[1])
    sizes = np.bincount(rarest)
    return np.where(sizes[rarest] > 1, rarest, sizes.argmax())


def _strata_to_split(name: str, strata: np.ndarray) -> np.ndarray:
    present, counts = np.unique(strata, return_counts=True)
    if len(strata) == 0 or counts.min() < 2:
        raise DataError(
            f"Data set {name}: a class (or a class within a task) with fewer than 2 samples cannot be split into "
            "training and test samples; add samples or give the test samples yourself: (x, y, x_test, y_test) or a "
            "pair (training, test) in Python, x_test and y_test in a file, or the folders train and test."
        )
    return np.asarray(present)
