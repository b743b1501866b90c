"""Any map-style data set of torch, such as those of torchvision: samples `(x, y)` by their number."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from redwood.core.errors import DataError, reason_of
from redwood.core.seeding import derive_seed
from redwood.settings.data.arrays import Samples, numbered, samples_of, targets_of
from redwood.settings.data.dataset import Dataset
from redwood.settings.data.given_arrays import joined_tasks
from redwood.settings.data.holdout import hold_out_rows
from redwood.settings.data.images import DecodedImages, in_memory


def from_torch(name: str, parts: Sequence[Any], seed: int, image_size: int) -> Dataset:
    """Make a data set of one or two of torch.

    Samples are tensors, arrays, or images of Pillow, as the data set's own transforms give them. A transform that
    draws at random draws once for each sample: `--augmentation` draws anew. Samples of up to 1 GiB are kept in memory,
    others are read batch by batch. `classes` of the data set names the classes.

    Args:
        name: Name in results.
        parts: One data set, of which test samples are drawn by `seed`; or one for training and one for the test.
        seed: Draws the test samples.
        image_size: Side that images of Pillow are resized to; 0: their own.

    Raises:
        DataError: If a sample is not a pair `(x, y)`, samples differ in their shapes, or parts in the names of classes.
    """
    splits = []
    for part in parts:
        _check_first(name, part)
        splits.append((part, torch.arange(len(part)), targets_of(name, _labels(name, part))))
    if len(splits) == 1:
        part, rows, y = splits[0]
        is_test = _held_out(name, y, seed)
        splits = [(part, rows[~is_test], y[~is_test]), (part, rows[is_test], y[is_test])]
    x, x_test = (_samples(name, part, rows, image_size) for part, rows, _ in splits)
    (_, _, y), (_, _, y_test) = splits
    y, y_test, class_names = numbered(name, y, y_test, _class_names(name, parts, y))
    integers = not x.dtype.is_floating_point
    return Dataset(
        name=name,
        x=x,
        y=y,
        x_test=x_test,
        y_test=y_test,
        max_value=None if not integers else 255.0 if x.dtype == torch.uint8 else _highest(x),
        class_names=class_names,
        compare_all=True,
    )


def from_arrays(name: str, parts: Sequence[np.ndarray | Tensor], seed: int) -> Dataset:
    """Make a data set of arrays `(x, y)`, of which test samples are drawn, or of `(x, y, x_test, y_test)`.

    Raises:
        DataError: If there are not as many samples as labels, or they are of no known kind.
    """
    return Dataset.from_arrays(*parts, name=name, seed=seed)


def from_tasks(name: str, tasks: Sequence[Sequence[np.ndarray | Tensor]], seed: int) -> Dataset:
    """Make a data set of the arrays of each task, `(x, y)` or `(x, y, x_test, y_test)`; see `joined_tasks`."""
    data = Dataset.from_arrays(**joined_tasks(name, tasks), name=name, seed=seed)
    counts = f"{len(data.x):,} training and {len(data.x_test):,} test samples"
    return replace(data, note=f"{name}: {counts} in {len(tasks)} tasks, one for each entry of the list")


def _held_out(name: str, y: Tensor, seed: int) -> Tensor:
    """Return a mask (N,), bool, of the test samples: a share of each class, or along the order of other targets."""
    by_class = y.dtype == torch.int64
    none, along = np.zeros(len(y), np.int64), None if by_class else np.arange(len(y))
    return torch.from_numpy(hold_out_rows(name, y.numpy() if by_class else none, none, along, seed))


class TorchSamples:
    """Samples (N, ...) that a data set of torch returns when they are indexed (implements `Samples`).

    Args:
        name: The data set, for messages.
        source: The data set.
        rows: Number of each sample in it (N,).
    """

    def __init__(self, name: str, source: object, rows: Tensor) -> None:
        self._name, self._source, self._rows = name, source, rows
        first = samples_of(name, torch.as_tensor(read(source, int(rows[0]))[0])[None])
        self.shape, self.dtype = torch.Size((len(rows), *first.shape[1:])), first.dtype

    def __len__(self) -> int:
        """Number of samples N."""
        return len(self._rows)

    def __getitem__(self, index: Tensor, /) -> Tensor:
        """Read the samples `index` (B,).

        Raises:
            DataError: If a sample is not of the shape of the first one.
        """
        result = torch.empty((len(index), *self.shape[1:]), dtype=self.dtype)
        for place, row in enumerate(self._rows[index].tolist()):
            sample = torch.as_tensor(read(self._source, row)[0])
            if sample.shape != self.shape[1:]:
                raise DataError(
                    f"Data set {self._name}: sample {row} has the shape {tuple(sample.shape)}, others "
                    f"{tuple(self.shape[1:])}; make them alike by a transform."
                )
            result[place] = sample
        return result


class _ImageReader:
    """Returns the images of Pillow of some samples."""

    def __init__(self, source: object) -> None:
        self._source = source

    def __call__(self, rows: list[int]) -> list[Image]:
        return [cast(Image, read(self._source, row)[0]) for row in rows]


def read(source: Any, row: int) -> tuple[object, object]:
    """One sample, which depends on its number alone: random transforms draw from a seed of their own."""
    with _seeded(row):
        sample: tuple[object, object] = source[row]
        return sample


@contextmanager
def _seeded(row: int) -> Iterator[None]:
    """Random numbers of Python, NumPy and torch that follow from `row`; the states are put back afterwards."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    seed = derive_seed(row, "sample") % 2**32
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def _check_first(name: str, source: Any) -> None:
    """Check that a data set has a length, and that its first sample is a pair."""
    try:
        n = len(source)
    except TypeError as error:
        raise DataError(f"Data set {name} has no length; define __len__.") from error
    if not n:
        raise DataError(f"Data set {name} is empty; add samples.")
    sample: object = read(source, 0)
    if not isinstance(sample, tuple | list) or len(sample) != 2:
        found = f"a {type(sample).__name__}" + (f" of {len(sample)}" if isinstance(sample, tuple | list) else "")
        raise DataError(
            f"Data set {name}: a sample is {found}, but has to be a pair (x, y); wrap the data set in one that returns "
            "such pairs."
        )


def _labels(name: str, source: Any) -> Tensor:
    """The labels of all samples (N,), without reading the samples where the data set keeps them apart."""
    if isinstance(source, TensorDataset):
        return source.tensors[1]
    if isinstance(source, Subset):
        return _labels(name, source.dataset)[torch.as_tensor(source.indices)]
    if isinstance(source, ConcatDataset):
        return torch.cat([_labels(name, part) for part in source.datasets])
    known = getattr(source, "targets", getattr(source, "labels", None))
    if known is not None and len(known) == len(source) and not _changes_targets(source):
        labels = torch.as_tensor(known)
        if labels.dim() == 1 and labels[0] == torch.as_tensor(read(source, 0)[1]):
            return labels
    try:
        return torch.stack([torch.as_tensor(read(source, row)[1]) for row in range(len(source))])
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"Data set {name}: the labels are no numbers of one shape ({reason_of(error)}); return an integer for a "
            "class, or floats to predict."
        ) from error


def _changes_targets(source: object) -> bool:
    """True if a data set of torchvision transforms its labels."""
    own = getattr(source, "target_transform", None)
    return own is not None or getattr(getattr(source, "transforms", None), "target_transform", None) is not None


def _samples(name: str, source: object, rows: Tensor, image_size: int) -> Samples:
    if isinstance(source, TensorDataset):
        return samples_of(name, source.tensors[0][rows])
    first = read(source, int(rows[0]))[0]
    if hasattr(first, "mode") and hasattr(first, "getbands"):  # an image of Pillow
        return in_memory(DecodedImages(name, _ImageReader(source), rows, image_size))
    if not isinstance(first, Tensor | np.ndarray | int | float | np.generic | list | tuple):
        raise DataError(
            f"Data set {name}: x is a {type(first).__name__}, but has to be a tensor, an array or an image of Pillow; "
            "convert it by a transform."
        )
    return in_memory(TorchSamples(name, source, rows))


def _highest(x: Samples) -> float:
    return float(max(1, int(x.max()))) if isinstance(x, Tensor) else 255.0


def _class_names(name: str, parts: Sequence[object], y: Tensor) -> tuple[str, ...]:
    """The names that data sets give their classes, if each class has one.

    Raises:
        DataError: If two data sets have different names for one number.
    """
    given = [names for part in parts for names in _given_names(part)]
    names = max(given, key=len, default=())
    for other in given:
        different = next((label for label, one in enumerate(other) if one != names[label]), None)
        if different is not None:
            raise DataError(
                f"Data set {name}: class {different} is called {names[different]} in one part, and {other[different]} "
                "in another; number the classes of all parts alike."
            )
    if y.dtype != torch.int64 or len(names) <= int(y.max()):
        return ()
    return names if len(set(names)) == len(names) and all(names) else ()


def _given_names(source: object) -> list[tuple[str, ...]]:
    """The names that a data set gives its classes, or those of each of its parts that gives some."""
    if isinstance(source, Subset):
        return _given_names(source.dataset)
    if isinstance(source, ConcatDataset):
        return [names for part in source.datasets for names in _given_names(part)]
    names = getattr(source, "classes", None)
    if not isinstance(names, list | tuple) or _changes_targets(source):
        return []
    return [tuple(map(str, names))]
