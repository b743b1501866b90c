"""Arrays as users have them: labels may be texts, and test samples may be missing."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from redwood.core.errors import DataError
from redwood.settings.data.arrays import targets_of, task_ids_of, times_of
from redwood.settings.data.holdout import hold_out_rows

_NAMED = {"y": "class", "t": "task"}  # what texts name


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


def coded_texts(
    where: str, key: str, *splits: Any, order: Callable[[str], Any] | None = None
) -> tuple[list[Any], list[str]]:
    """Number the classes or the tasks of arrays that are texts; other arrays stay as they are.

    Args:
        where: The data, for messages.
        key: What the arrays are: `y` or `t`.
        *splits: The array of the training samples, and that of the test samples if there are any.
        order: What the texts are sorted by; None: the texts themselves.

    Returns:
        The array of each split, and the names of the classes or tasks: none if arrays are no texts.

    Raises:
        DataError: If only one of the splits has texts, or a text of the test never occurs in training.
    """
    if not any(map(is_text, splits)):
        return list(splits), []
    if not all(map(is_text, splits)):
        raise DataError(
            f"{where} has texts in {key} beside numbers in the other split; save both as texts, or as numbers."
        )
    texts = [[text_of(one) for one in np.asarray(split).flat] for split in splits]
    names = sorted(set(texts[0]), key=order)
    unknown = sorted({text for own in texts for text in own} - set(names))
    if unknown:
        raise DataError(f"{where}: the {_NAMED[key]} {unknown[0]!r} of {key}_test never occurs in {key}; add samples.")
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
    tasks = task_ids_of(name, given["t"]).numpy() if "t" in given else none
    is_test = hold_out_rows(name, y.numpy() if by_class else none, tasks, along, seed)
    train = {key: array[~is_test] for key, array in given.items()}
    return train | {f"{key}_test": array[is_test] for key, array in given.items()}


def joined_tasks(name: str, tasks: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """Join the arrays of several tasks.

    Args:
        name: The data set, for messages.
        tasks: Of each task `(x, y)`, or of each `(x, y, x_test, y_test)`.

    Returns:
        The arrays by these names; `t`, the task of each sample, and `t_test` if there are test samples.

    Raises:
        DataError: If a task has no samples or not as many labels, or arrays of two tasks differ in their form.
    """
    joined: dict[str, Any] = {}
    for place, tests in ((0, ""), (2, "_test"))[: len(tasks[0]) // 2]:
        samples, labels = f"x{tests}", f"y{tests}"
        sizes = [(len(task[place]), len(task[place + 1])) for task in tasks]
        for number, (n, n_labels) in enumerate(sizes):
            if n != n_labels or not n:
                raise DataError(
                    f"Data set {name}: task {number} has {n} samples {samples} and {n_labels} labels {labels}; give at "
                    "least one, and as many of both."
                )
        joined[samples] = _joined(name, samples, [task[place] for task in tasks])
        joined[labels] = _joined(name, labels, [task[place + 1] for task in tasks])
        joined[f"t{tests}"] = np.repeat(np.arange(len(tasks)), [n for n, _ in sizes])
    return joined


def _joined(name: str, key: str, values: Sequence[Any]) -> np.ndarray | Tensor:
    """One array of those of all tasks, which have one form: joining others would change their meaning."""
    arrays = [_array_of(name, key, one) for one in values]
    forms = [_form(array) for array in arrays]
    for number, form in enumerate(forms):
        if form != forms[0]:
            raise DataError(
                f"Data set {name}: {key} of task {number} holds {form}, and that of task 0 {forms[0]}; make them alike."
            )
    tensors = [array for array in arrays if isinstance(array, Tensor)]
    if len(tensors) == len(arrays):
        return torch.cat(tensors)
    return np.concatenate([np.asarray(array) for array in arrays])


def _form(array: np.ndarray | Tensor) -> str:
    """Type and shape of the entries of an array."""
    dtype = str(array.dtype).removeprefix("torch.")
    kind = "texts" if is_text(array) else "floats" if dtype.startswith(("float", "bfloat")) else dtype
    return f"{kind} of shape {tuple(array.shape[1:])}" if array.ndim > 1 else kind


def _array_of(name: str, key: str, values: Any) -> np.ndarray | Tensor:
    """An array or a tensor as it is, and a list as an array."""
    try:
        return values if isinstance(values, Tensor) else np.asarray(values)
    except ValueError as error:
        raise DataError(
            f"Data set {name}: {key} is a {type(values).__name__} with entries of several shapes; make them alike."
        ) from error
