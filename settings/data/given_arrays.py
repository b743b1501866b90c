"""Arrays as users have them: labels may be texts, and test samples may be missing."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from redwood.core.errors import DataError
from redwood.settings.data.arrays import targets_of, times_of
from redwood.settings.data.holdout import hold_out_rows


def is_text(y: object) -> bool:
    """True if all of some labels (N,) are texts; HDF5 files hold these as bytes."""
    try:
        array = np.zeros(0) if isinstance(y, Tensor) else np.asarray(y)
    except ValueError:  # rows of several lengths
        return False
    if array.dtype.kind not in "USO":
        return False
    return array.size > 0 and (array.dtype.kind != "O" or all(isinstance(one, str | bytes) for one in array.flat))


def check_order(name: str, x: Any, y: Any, x_test: Any) -> None:
    """Check that samples and labels come in their places; `x_test` may be None.

    Raises:
        DataError: If labels come first, or test samples second, as `train_test_split` returns them.
    """
    own, labels = _shape(x), _shape(y)
    if len(own) == 1 and len(labels) > 1:
        raise DataError(
            f"Data set {name}: the first array is {own} and the second {labels}, but samples come before labels: the "
            "order is x, y, x_test, y_test."
        )
    if x_test is not None and len(own) > 1 and labels[1:] == own[1:] != _shape(x_test)[1:]:
        raise DataError(
            f"Data set {name}: the second array {labels} looks like samples, as the first {own}; the order is x, y, "
            "x_test, y_test."
        )


def _shape(values: Any) -> tuple[int, ...]:
    """The shape of an array or a list; of a list whose entries have several shapes, its length."""
    try:
        return tuple(np.shape(values))
    except (ValueError, TypeError):
        return (len(values),)


def coded_labels(where: str, *splits: Any) -> tuple[list[Any], list[str]]:
    """Number the classes of labels that are texts, in the order of the texts; other labels stay as they are.

    Args:
        where: The data, for messages.
        *splits: The labels for training, and those of the test if there are any.

    Returns:
        The labels of each split, and the names of the classes: none if labels are no texts.

    Raises:
        DataError: If only one of the splits has texts, or a test label never occurs in training.
    """
    if not any(map(is_text, splits)):
        return list(splits), []
    if not all(map(is_text, splits)):
        raise DataError(f"{where} has texts in y beside numbers in the other split; save both as texts, or as numbers.")
    texts = [[text_of(one) for one in np.asarray(y).flat] for y in splits]
    names = sorted(set(texts[0]))
    unknown = sorted({text for own in texts for text in own} - set(names))
    if unknown:
        raise DataError(f"{where}: the class {unknown[0]!r} of y_test never occurs in y; add samples.")
    numbers = {name: number for number, name in enumerate(names)}
    return [np.array([numbers[text] for text in own], dtype=np.int64) for own in texts], names


def text_of(value: object) -> str:
    """A text; HDF5 files hold texts as bytes."""
    return value.decode() if isinstance(value, bytes) else str(value)


def with_tests(name: str, arrays: Mapping[str, Any], *, ordered: bool, seed: int) -> dict[str, Any]:
    """Hold out one fifth of some samples as the test.

    Args:
        name: The data set, for messages.
        arrays: `x` (N, ...), `y` (N,), and further arrays (N,): `t` has the tasks. None: there is none.
        ordered: Whether the test samples have to lie all along the samples; in regression they always do.
        seed: Draws the test samples: the same share of each class, in each task.

    Returns:
        The arrays of the other samples, and those of the test, with `_test` behind their names.

    Raises:
        DataError: If arrays differ in their lengths, or a class has too few samples.
    """
    given = {key: _array_of(name, key, one) for key, one in arrays.items() if one is not None}
    y = targets_of(name, given["y"])
    for key, array in given.items():
        if len(array) != len(y):
            what = "samples" if key == "x" else f"values of {key}"
            raise DataError(f"Data set {name}: there are {len(array)} {what}, but {len(y)} labels; give one for each.")
    none, along = np.zeros(len(y), np.int64), None
    by_class = y.dtype == torch.int64
    if ordered or not by_class:
        time = times_of(name, given["time"]).numpy() if "time" in given else np.arange(len(y))
        along = np.argsort(time, kind="stable")
    tasks = np.asarray(given["t"]) if "t" in given else none
    is_test = hold_out_rows(name, y.numpy() if by_class else none, tasks, along, seed)
    train = {key: array[~is_test] for key, array in given.items()}
    return train | {f"{key}_test": array[is_test] for key, array in given.items()}


def _array_of(name: str, key: str, values: Any) -> np.ndarray | Tensor:
    """An array or a tensor as it is, and a list as an array."""
    try:
        return values if isinstance(values, Tensor) else np.asarray(values)
    except ValueError as error:
        raise DataError(
            f"Data set {name}: {key} is a {type(values).__name__} with entries of several shapes; make them alike."
        ) from error
