"""A data set in memory (or in image files), with classes or numbers to predict: what every stream is cut from."""

import hashlib
import warnings
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from redwood.core.errors import DataError

CHANNELS = (1, 3, 4)
UNKNOWN_DTYPES = (torch.uint16, torch.uint32, torch.uint64)  # which torch can store, and hardly more
MANY_CLASSES = 100  # whole numbers that differ more than this are hardly meant as classes
REMEDIES = {
    "samples": "give numbers of one shape for all samples, as numpy.stack makes them of a list or to_numpy of a table",
    "labels": "give integers 0..K-1, as numpy.unique(y, return_inverse=True)[1] makes them of names",
}


class Rows(Protocol):
    """Samples addressed by index: a tensor, or files that are decoded when asked for."""

    @property
    def shape(self) -> torch.Size:
        """Shape (N, ...) of all samples."""

    @property
    def dtype(self) -> torch.dtype:
        """Storage dtype of the samples."""

    def __len__(self) -> int:
        """Number of samples N."""

    def __getitem__(self, index: Tensor, /) -> Tensor:
        """Rows `index` (B,) as one tensor (B, ...)."""


_SAMPLED_ROWS = 16


@dataclass(frozen=True, eq=False)
class Dataset:
    """A training and a test split in their storage dtype (uint8 images stay uint8).

    Attributes:
        name: What results are filed under.
        x: Training samples (N, ...).
        y: Training labels (N,), int64 in 0..K-1; or, for regression, targets (N,) or (N, d), float32.
        x_test: Test samples (M, ...).
        y_test: Test labels (M,), or targets (M,) or (M, d).
        contexts: Task of each training sample (N,), if the data says so itself; else None.
        contexts_test: Task of each test sample (M,), exactly where `contexts` is given.
        max_value: Largest storable value of integer samples; samples are scaled by it. None: as they are.
        time: When each training sample was taken (N,), float64. None: in the order of the rows.
        time_test: When each test sample was taken (M,), exactly where `time` is given.
        ordered: Whether the order of classified samples matters. That of regression always does.

    Raises:
        DataError: If shapes disagree, labels are not 0..K-1, or a value is not finite.
    """

    name: str
    x: Rows
    y: Tensor
    x_test: Rows
    y_test: Tensor
    contexts: Tensor | None = None
    contexts_test: Tensor | None = None
    max_value: float | None = None
    time: Tensor | None = None
    time_test: Tensor | None = None
    ordered: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be learned from, before anything is trained on it."""
        _check_split(self.name, "training", self.x, self.y, self.contexts)
        _check_split(self.name, "test", self.x_test, self.y_test, self.contexts_test)
        if self.x.shape[1:] != self.x_test.shape[1:] or self.x.dtype != self.x_test.dtype:
            raise DataError(
                f"Data set {self.name}: training samples are {tuple(self.x.shape[1:])} {self.x.dtype}, "
                f"test samples {tuple(self.x_test.shape[1:])} {self.x_test.dtype}; make them alike."
            )
        if self.is_regression or self.y_test.dtype.is_floating_point:
            _check_targets(self.name, self.y, self.y_test)
        else:
            _check_labels(self.name, self.y, self.y_test)
        if (self.contexts is None) != (self.contexts_test is None):
            raise DataError(
                f"Data set {self.name}: give task ids for both the training and the test samples, or for neither."
            )
        if self.contexts is not None and self.contexts_test is not None:
            _check_contexts(self.name, self.contexts, self.contexts_test)
        _check_times(self.name, (self.time, self.y), (self.time_test, self.y_test))

    @property
    def is_regression(self) -> bool:
        """Whether numbers are to be predicted, not classes."""
        return self.y.dtype.is_floating_point

    @property
    def keeps_order(self) -> bool:
        """Whether `--stream auto` serves the samples in their order, unless the data names its tasks."""
        return self.ordered or self.is_regression

    @property
    def n_classes(self) -> int:
        """Number of classes K."""
        return int(self.y.max()) + 1

    @property
    def n_outputs(self) -> int:
        """Number of classes K, or of numbers to predict of each sample."""
        return self.y[0].numel() if self.is_regression else self.n_classes

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(self.x.shape[1:])

    @classmethod
    def from_arrays(
        cls,
        x: np.ndarray | Tensor,
        y: np.ndarray | Tensor,
        x_test: np.ndarray | Tensor,
        y_test: np.ndarray | Tensor,
        t: np.ndarray | Tensor | None = None,
        t_test: np.ndarray | Tensor | None = None,
        *,
        name: str = "arrays",
        max_value: float | None = None,
        time: np.ndarray | Tensor | None = None,
        time_test: np.ndarray | Tensor | None = None,
        ordered: bool | None = None,
    ) -> "Dataset":
        """Make a data set of NumPy arrays or tensors.

        Args:
            x: Training samples (N, ...); integer samples keep their dtype, floats become float32.
            y: Training labels (N,), integers 0..K-1; or targets (N,) or (N, d) of regression, floats.
            x_test: Test samples (M, ...).
            y_test: Test labels (M,), or targets (M,) or (M, d).
            t: Task of each training sample (N,), integers 0..T-1; None lets the setting cut the tasks.
            t_test: Task of each test sample (M,).
            name: What results are filed under.
            max_value: Largest value of integer samples (default: 255 for bytes, else the largest in training).
            time: When each training sample was taken (N,), any numbers or dates; None: in the order of the rows.
            time_test: When each test sample was taken (M,).
            ordered: Whether the order of the samples matters (default: if `time` is given).
        """
        samples, samples_test = _samples(name, x), _samples(name, x_test)
        targets = _targets(name, y)
        _check_channels(name, samples)
        _check_whole_numbers(name, targets)
        if max_value is None and not samples.dtype.is_floating_point and samples.numel():
            max_value = 255.0 if samples.dtype == torch.uint8 else float(samples.max())
        return cls(
            name=name,
            x=samples,
            y=targets,
            x_test=samples_test,
            y_test=_targets(name, y_test),
            contexts=None if t is None else _labels(name, t),
            contexts_test=None if t_test is None else _labels(name, t_test),
            max_value=max_value,
            time=None if time is None else _times(name, time),
            time_test=None if time_test is None else _times(name, time_test),
            ordered=time is not None if ordered is None else ordered,
        )


def _samples(name: str, x: np.ndarray | Tensor) -> Tensor:
    tensor = _own(name, "samples", x)
    if tensor.is_complex() or tensor.dtype in UNKNOWN_DTYPES:
        raise DataError(f"Data set {name}: samples of type {tensor.dtype} are not known; convert them to float32.")
    if tensor.dim() == 1:
        raise DataError(f"Data set {name}: samples need a second dimension; pass x[:, None] of single numbers.")
    return (tensor.float() if tensor.dtype.is_floating_point else tensor).contiguous()


def _targets(name: str, y: np.ndarray | Tensor) -> Tensor:
    tensor = _own(name, "labels", y)
    if not tensor.dtype.is_floating_point:
        return _labels(name, tensor)
    return tensor.float()


def _labels(name: str, y: np.ndarray | Tensor) -> Tensor:
    tensor = _own(name, "labels", y)
    if tensor.dtype.is_floating_point or tensor.dtype == torch.bool:
        raise DataError(f"Data set {name}: labels and task ids must be integers, got {tensor.dtype}.")
    return tensor.long()


def _times(name: str, time: np.ndarray | Tensor) -> Tensor:
    array = np.asarray(time)
    if array.dtype.kind in "mM":
        unit = f"{array.dtype.kind}8[us]"  # days and seconds may have to be compared
        array = np.where(np.isnat(array), np.nan, array.astype(unit).astype(np.int64))
    if array.dtype.kind not in "iuf":
        raise DataError(f"Data set {name}: times must be numbers or dates, got {array.dtype}; convert them.")
    return torch.from_numpy(array.astype(np.float64))


def _own(name: str, what: str, values: np.ndarray | Tensor) -> Tensor:
    """A tensor with no memory beside its own: a slice would carry the rest of the array, such as the test samples."""
    try:
        tensor = values if isinstance(values, Tensor) else torch.as_tensor(_native(np.asarray(values)))
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"Data set {name}: the {what} are no array of numbers ({_kind(values)}); {REMEDIES[what]}."
        ) from error
    part = tensor.untyped_storage().nbytes() > tensor.nbytes or getattr(values, "base", None) is not None
    return tensor.clone() if part else tensor


def _native(array: np.ndarray) -> np.ndarray:
    """The same numbers as torch takes them: no reversed axes, no foreign byte order."""
    if array.dtype.kind in "biuf" and (not array.dtype.isnative or min(array.strides, default=0) < 0):
        return array.astype(array.dtype.newbyteorder("="), order="C")
    return array


def _kind(values: Any) -> str:
    """What was given, for an error: its class and the type of its elements."""
    dtype = str(getattr(values, "dtype", "object"))
    of = type(next(iter(values))).__name__ if dtype == "object" and len(values) else dtype
    return f"{type(values).__name__} of {of}"


def _check_channels(name: str, samples: Tensor) -> None:
    """Tell of images whose channels come last: networks would take their rows for channels."""
    shape = samples.shape[1:]
    if len(shape) != 3 or shape[2] not in CHANNELS or min(shape[:2]) <= max(CHANNELS):
        return
    found = f"Data set {name}: samples {tuple(shape)} look like images whose channels come last, not first"
    if not samples.dtype.is_floating_point:
        raise DataError(f"{found}; pass numpy.moveaxis(x, -1, 1).")
    warnings.warn(f"{found}; if so, pass numpy.moveaxis(x, -1, 1).", stacklevel=3)


def _check_whole_numbers(name: str, y: Tensor) -> None:
    """Tell of classes given as floats, which are taken for numbers to predict."""
    if not y.dtype.is_floating_point or not bool((y == y.round()).all()) or len(torch.unique(y)) > MANY_CLASSES:
        return
    warnings.warn(
        f"Data set {name}: floats are numbers to predict (regression), and these labels are whole numbers; if they are "
        f"classes, pass {'y.argmax(1) of one-hot rows' if y.dim() > 1 else 'y.astype(int)'}.",
        stacklevel=3,
    )


def _check_split(name: str, split: str, x: Rows, y: Tensor, contexts: Tensor | None) -> None:
    dims = (1, 2) if y.dtype.is_floating_point else (1,)
    if not len(x.shape) or not y.dim():
        raise DataError(f"Data set {name}: the {split} samples and labels need a first dimension, one row for each.")
    if y.dim() not in dims or len(x) != len(y) or (contexts is not None and contexts.shape != y.shape[:1]):
        raise DataError(
            f"Data set {name}: {len(x)} {split} samples need as many labels (and task ids) in one dimension"
            f"{' or two' if len(dims) > 1 else ''}, got labels of shape {tuple(y.shape)}{_flattening(y)}."
        )
    if len(y) == 0:
        raise DataError(f"Data set {name}: the {split} split is empty.")
    if isinstance(x, Tensor) and x.dtype in (torch.int8, torch.int16, torch.int32, torch.int64) and int(x.min()) < 0:
        raise DataError(f"Data set {name}: the {split} samples hold negative integers; convert them to floats.")
    if isinstance(x, Tensor) and x.dtype.is_floating_point and not bool(torch.isfinite(x).all()):
        raise DataError(f"Data set {name}: the {split} samples hold NaN or infinite values; clean them first.")


def _flattening(y: Tensor) -> str:
    """How to make one dimension of labels with two, as the end of a sentence."""
    if y.dim() != 2:
        return ""
    return "; pass y.argmax(1) of one-hot rows" if y.shape[1] > 1 else "; pass y[:, 0]"


def _check_targets(name: str, y: Tensor, y_test: Tensor) -> None:
    if y.shape[1:] != y_test.shape[1:] or y.dtype != y_test.dtype:
        raise DataError(
            f"Data set {name}: training targets are {tuple(y.shape[1:])} {y.dtype}, test targets "
            f"{tuple(y_test.shape[1:])} {y_test.dtype}; make them alike."
        )
    if not y[0].numel() or not all(bool(torch.isfinite(values).all()) for values in (y, y_test)):
        raise DataError(f"Data set {name}: the targets are empty, or hold NaN or infinite values; clean them first.")


def _check_labels(name: str, y: Tensor, y_test: Tensor) -> None:
    present = torch.unique(y)
    if not torch.equal(present, torch.arange(len(present))):
        raise DataError(
            f"Data set {name}: labels must be 0..K-1 without gaps, got {_shorten(present)}; renumber them "
            "(numpy.unique(y, return_inverse=True)[1] does it)."
        )
    unknown = torch.unique(y_test[(y_test < 0) | (y_test >= len(present))])
    if len(unknown):
        raise DataError(f"Data set {name}: the test labels {_shorten(unknown)} never occur in training.")


def _check_contexts(name: str, contexts: Tensor, contexts_test: Tensor) -> None:
    present, tested = torch.unique(contexts), torch.unique(contexts_test)
    if not torch.equal(present, torch.arange(len(present))) or not torch.equal(present, tested):
        raise DataError(
            f"Data set {name}: task ids must be 0..T-1 and each needs training and test samples, "
            f"got {_shorten(present)} in training and {_shorten(tested)} at test."
        )


def _check_times(name: str, *splits: tuple[Tensor | None, Tensor]) -> None:
    given = [(time, y) for time, y in splits if time is not None]
    if len(given) == 1:
        raise DataError(f"Data set {name}: give times for both the training and the test samples, or for neither.")
    for time, y in given:
        if time.shape != y.shape[:1]:
            raise DataError(f"Data set {name}: {len(y)} samples need as many times, got shape {tuple(time.shape)}.")
        if not bool(torch.isfinite(time).all()):
            raise DataError(f"Data set {name}: the times hold NaN or infinite values; clean them first.")


def _shorten(values: Tensor) -> str:
    shown = [str(v) for v in values[:6].tolist()]
    return "{" + ", ".join(shown) + (", ..." if len(values) > 6 else "") + "}"


def describe_data(data: Dataset) -> dict[str, Any]:
    """Size, shape and dtype of both splits, with hashes of all labels, task ids and times, and of a few samples."""
    told: dict[str, Any] = {}
    splits = (
        ("training", data.x, data.y, data.contexts, data.time),
        ("test", data.x_test, data.y_test, data.contexts_test, data.time_test),
    )
    for name, x, y, contexts, time in splits:
        rows = torch.linspace(0, len(x) - 1, min(_SAMPLED_ROWS, len(x)), dtype=torch.float64).long()
        told |= {
            f"{name} samples": f"{len(x)} of shape {tuple(x.shape[1:])}, {x.dtype}",
            f"hash of {name} labels": _hash(y),
            f"hash of a few {name} samples": _hash(x[rows]),
        }
        if contexts is not None:
            told[f"hash of {name} task ids"] = _hash(contexts)
        if time is not None:
            told[f"hash of {name} times"] = _hash(time)
    return told


def _hash(values: Tensor) -> str:
    digest = hashlib.sha256(f"{tuple(values.shape)} {values.dtype}".encode())
    digest.update(values.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
