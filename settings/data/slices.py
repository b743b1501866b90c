"""Slices of a data set: the groups of samples whose scores are reported apart, such as one for each region."""

import numpy as np
import torch
from torch import Tensor

from redwood.core.errors import DataError

Column = np.ndarray | Tensor


def coded_slices(
    name: str, column: Column | None, column_test: Column | None
) -> tuple[Tensor | None, Tensor | None, tuple[str, ...]]:
    """Number the slices of a data set.

    Args:
        name: The data set, for messages.
        column: The slice of each training sample (N,), numbers or strings; None: the data has no slices.
        column_test: The slice of each test sample (M,).

    Returns:
        The number of the slice of each training sample (N,) and of each test sample (M,), 0..S-1, and the S names.

    Raises:
        DataError: If only one split has slices, or they are neither numbers nor strings in one dimension.
    """
    if column is None and column_test is None:
        return None, None, ()
    if column is None or column_test is None:
        raise DataError(f"Data set {name}: give slices for both the training and the test samples, or for neither.")
    train, test = (_plain(name, values) for values in (column, column_test))
    if (train.dtype.kind == "U") != (test.dtype.kind == "U"):
        raise DataError(
            f"Data set {name}: the slices are {train.dtype} in training and {test.dtype} at test; make them alike."
        )
    values, codes = np.unique(np.concatenate([train, test]), return_inverse=True)
    numbers = torch.from_numpy(codes.astype(np.int64))
    return numbers[: len(train)], numbers[len(train) :], tuple(map(_shown, values))


def _plain(name: str, column: Column) -> np.ndarray:
    """The column as an array of numbers or of strings; HDF5 files hold strings as bytes."""
    array = np.asarray(column)
    if array.dtype.kind == "O" and all(isinstance(value, bytes | str) for value in array.flat):
        array = np.array([value.decode() if isinstance(value, bytes) else value for value in array.flat], dtype=str)
    elif array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8")
    if array.ndim != 1 or array.dtype.kind not in "biufU":
        raise DataError(
            f"Data set {name}: slices are numbers or strings in one dimension, one for each sample, "
            f"got {array.dtype} of shape {array.shape}; convert them."
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError(f"Data set {name}: the slices hold NaN or infinite values; clean them first.")
    return array


def _shown(value: np.generic) -> str:
    return f"{value:g}" if isinstance(value, np.floating) else str(value)


def check_slices(
    name: str, names: tuple[str, ...], train: tuple[Tensor | None, Tensor], test: tuple[Tensor | None, Tensor]
) -> None:
    """Check that every slice has training and test samples.

    Args:
        name: The data set, for messages.
        names: Names of the slices (S,).
        train: The slice of each training sample (N,), or None, and the labels (N, ...).
        test: The same of the test samples.

    Raises:
        DataError: If one split has no slices, a sample has none, or a slice has no sample in a split.
    """
    if (train[0] is None) != (test[0] is None):
        raise DataError(f"Data set {name}: give slices for both the training and the test samples, or for neither.")
    for split, (slices, y) in (("training", train), ("test", test)):
        if slices is None:
            continue
        if slices.shape != y.shape[:1] or slices.dtype != torch.int64:
            raise DataError(
                f"Data set {name}: {len(y)} {split} samples need as many slices (int64), "
                f"got {tuple(slices.shape)} {slices.dtype}."
            )
        present = torch.unique(slices)
        outside = present[(present < 0) | (present >= len(names))]
        if len(outside):
            raise DataError(
                f"Data set {name}: slice {int(outside[0])} is none of the {len(names)} slices that have a name."
            )
        missing = sorted(set(range(len(names))) - set(present.tolist()))
        if missing:
            raise DataError(
                f"Data set {name}: the slice {names[missing[0]]!r} has no {split} sample; add some, or choose a column "
                "with fewer values."
            )
