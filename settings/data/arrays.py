"""Convert arrays of samples, labels, task ids and times to tensors, and warn of likely mistakes."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from redwood.core.errors import DataError
from redwood.core.seeding import preserved_random_state, seed_everything
from redwood.core.user_warnings import warn

CHANNELS = (1, 3, 4)
UNKNOWN_DTYPES = (torch.uint16, torch.uint32, torch.uint64)  # torch stores them, but supports few operations
BYTE = 255  # the largest byte
DARK = 64  # images of bytes have some that are as large
FEW_CLASSES = 20  # so many values may be classes, however few samples there are
MANY_CLASSES = 100  # more different whole numbers than this are unlikely to be classes
REMEDIES = {
    "samples": "give numbers of one shape for all samples, as numpy.stack makes them of a list, or a table with the "
    "labels as a column",
    "labels": "give integers 0..K-1, or texts alone",
    "task ids": "give the task of each sample in t as an integer 0..T-1, or as a text, which names the task",
}


class Samples(Protocol):
    """The samples of a data set: a tensor, or image files that are decoded when they are indexed."""

    @property
    def shape(self) -> torch.Size:
        """Shape (N, ...) of all samples."""

    @property
    def dtype(self) -> torch.dtype:
        """Storage dtype of the samples."""

    def __len__(self) -> int:
        """Number of samples N."""

    def __getitem__(self, index: Tensor, /) -> Tensor:
        """The samples `index` (B,) as one tensor (B, ...)."""


def drawn(x: Samples, rows: Tensor, seed: int, *purpose: str | int) -> Tensor:
    """Return the samples at `rows` (n,). Draws of their source, such as random crops, follow from seed and purpose."""
    if isinstance(x, Tensor):
        return x[rows]
    with preserved_random_state():
        seed_everything(seed, *purpose)
        return x[rows]


def samples_of(name: str, x: np.ndarray | Tensor) -> Tensor:
    """Samples (N, ...): floats as float32, other dtypes as they are."""
    tensor = _own(name, "samples", x)
    if tensor.is_complex() or tensor.dtype in UNKNOWN_DTYPES:
        raise DataError(f"Data set {name}: samples of type {tensor.dtype} are not known; convert them to float32.")
    if tensor.dim() == 1 and len(tensor):
        raise DataError(f"Data set {name}: samples need a second dimension; pass x[:, None] of single numbers.")
    return (tensor.float() if tensor.dtype.is_floating_point else tensor).contiguous()


def targets_of(name: str, y: np.ndarray | Tensor) -> Tensor:
    """Labels as int64, label sets as bool, or targets of regression as float32."""
    tensor = _own(name, "labels", y)
    if tensor.dtype == torch.bool and tensor.dim() == 2:
        return tensor
    if tensor.dtype.is_floating_point:
        return tensor.float()
    if tensor.dim() == 2:
        raise DataError(f"Data set {name}: labels have shape {tuple(tensor.shape)}{flattening(tensor)}.")
    return labels_of(name, tensor)


def flattening(y: Tensor) -> str:
    """Advice for labels with two dimensions, as the end of a sentence."""
    if y.dim() != 2:
        return ""
    if y.shape[1] == 1:
        return "; pass y.ravel()"
    return "; pass y.argmax(1) of one-hot rows, or y.astype(bool) where a sample may have several labels"


def labels_of(name: str, y: np.ndarray | Tensor) -> Tensor:
    """Labels as int64."""
    return _integers(name, "labels", y)


def task_ids_of(name: str, t: np.ndarray | Tensor) -> Tensor:
    """Task ids as int64."""
    return _integers(name, "task ids", t)


def _integers(name: str, what: str, values: np.ndarray | Tensor) -> Tensor:
    tensor = _own(name, what, values)
    if tensor.dtype.is_floating_point or tensor.dtype == torch.bool:
        raise DataError(f"Data set {name}: the {what} must be integers, got {tensor.dtype}; {REMEDIES[what]}.")
    return tensor.long()


def numbered(name: str, y: Tensor, y_test: Tensor, names: Sequence[str]) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Give classes whose labels have gaps, such as 6..9, the labels 0..K-1, and their old labels as names.

    A run that another data set extends finds the classes again by these names.

    Args:
        name: Name of the data set, for a message.
        y: Training targets; those that are not labels (N,) stay as they are.
        y_test: Test targets.
        names: Name of each label from 0 on, if they have names; those of labels that do not occur are left out.

    Returns:
        The training and the test targets, and the names of the classes; empty where they are called by their labels.

    Raises:
        DataError: If the labels are too many to be classes.
    """
    if y.dim() != 1 or y.dtype != torch.int64 or y_test.dtype != torch.int64 or not len(y) or int(y.min()) < 0:
        return y, y_test, tuple(names)
    present = torch.unique(y)
    if len(names) > int(present[-1]):
        names = [names[label] for label in present.tolist()]
    if torch.equal(present, torch.arange(len(present))):
        return y, y_test, tuple(names)
    if len(present) > max(FEW_CLASSES, len(y) // 2):
        raise DataError(
            f"Data set {name}: y holds {len(present)} different integers in {len(y)} samples, too many to be classes; "
            "give numbers to predict as floats."
        )
    unknown = y_test[~torch.isin(y_test, present)]
    if len(unknown):
        raise DataError(f"Data set {name}: the test label {int(unknown[0])} never occurs in training; add samples.")
    codes, codes_test = (torch.searchsorted(present, labels) for labels in (y, y_test))
    return codes, codes_test, tuple(names) or tuple(map(str, present.tolist()))


def times_of(name: str, time: np.ndarray | Tensor) -> Tensor:
    """Numbers or dates as float64."""
    array = np.asarray(time)
    if array.dtype.kind in "mM":
        unit = f"{array.dtype.kind}8[us]"  # one unit for both splits
        array = np.where(np.isnat(array), np.nan, array.astype(unit).astype(np.int64))
    if array.dtype.kind not in "iuf":
        raise DataError(f"Data set {name}: times must be numbers or dates, got {array.dtype}; convert them.")
    return torch.from_numpy(array.astype(np.float64))


def _own(name: str, what: str, values: np.ndarray | Tensor) -> Tensor:
    """A tensor that holds only its own memory: a slice would carry the rest of the array, such as the test samples."""
    try:
        tensor = values if isinstance(values, Tensor) else torch.as_tensor(_native(np.asarray(values)))
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"Data set {name}: the {what} are no array of numbers ({_kind(values)}); {REMEDIES[what]}."
        ) from error
    part = tensor.untyped_storage().nbytes() > tensor.nbytes or getattr(values, "base", None) is not None
    return tensor.clone() if part else tensor


def _native(array: np.ndarray) -> np.ndarray:
    """The same numbers in a form that torch accepts: no reversed axes, native byte order, not read-only."""
    if array.dtype.kind in "biuf" and (not array.dtype.isnative or min(array.strides, default=0) < 0):
        return array.astype(array.dtype.newbyteorder("="), order="C")
    return array if array.flags.writeable else array.copy()


def _kind(values: np.ndarray | Tensor) -> str:
    """Class and element type of some values, for a message."""
    dtype = str(getattr(values, "dtype", "object"))
    of = type(next(iter(values))).__name__ if dtype == "object" and len(values) else dtype
    return f"{type(values).__name__} of {of}"


def check_channels(name: str, samples: Tensor) -> None:
    """Refuse images whose channels come last, or warn of them: networks would take their rows for channels."""
    shape = samples.shape[1:]
    if len(shape) != 3 or shape[2] not in CHANNELS or min(shape[:2]) <= max(CHANNELS):
        return
    found = f"Data set {name}: samples {tuple(shape)} look like images whose channels come last, not first"
    if not samples.dtype.is_floating_point:
        raise DataError(f"{found}; pass numpy.moveaxis(x, -1, 1).")
    warn(f"{found}; if so, pass numpy.moveaxis(x, -1, 1).")


def check_range(name: str, samples: Samples, max_value: float | None) -> None:
    """Warn if bytes fill a small part of the range that they are scaled by: a network would hardly see them."""
    if not isinstance(samples, Tensor) or samples.dtype != torch.uint8 or max_value != BYTE or not samples.numel():
        return
    highest = int(samples.max())
    if highest < DARK:
        warn(
            f"Data set {name}: the samples are bytes in 0..{highest}, and bytes are divided by 255; if {highest} is "
            f"their largest possible value, save x.astype('int16'), or pass max_value={max(1, highest)} to "
            "Dataset.from_arrays."
        )


def check_whole_numbers(name: str, y: Tensor) -> None:
    """Warn of classes given as floats: they are taken for numbers to predict."""
    if not y.dtype.is_floating_point or not bool((y == y.round()).all()) or len(torch.unique(y)) > MANY_CLASSES:
        return
    warn(
        f"Data set {name}: floats are numbers to predict (regression), and these labels are whole numbers; if they are "
        f"classes, pass {'y.argmax(1) of one-hot rows' if y.dim() > 1 else 'y.astype(int)'}."
    )
