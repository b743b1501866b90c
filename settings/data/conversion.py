"""Check the option `dataset`: a name, or data in memory, which a run reads when it starts. Resize images."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import IterableDataset, TensorDataset

from redwood.core.described import described_types
from redwood.core.errors import InvalidOptionError
from redwood.settings.data.arrays import Samples
from redwood.settings.data.dataset import Dataset

TABLE, HUGGING_FACE, TORCH, ARRAYS, TASKS = "table", "hugging_face", "torch", "arrays", "tasks"
_MAKE = "make a data set by Dataset.from_arrays(x, y, x_test, y_test)"


@dataclass(frozen=True, eq=False)
class InMemory:
    """Data that was given from Python: one of the kinds that `load_in_memory` reads.

    Attributes:
        name: Name in results.
        kind: `TABLE` (a pandas DataFrame), `HUGGING_FACE`, `TORCH` (a map-style data set), `ARRAYS` or `TASKS`.
        parts: One object, of which test samples are drawn; or one for training and one for the test. Arrays are
            `(x, y)`, or `(x, y, x_test, y_test)`. Tasks are such arrays of each.
    """

    name: str
    kind: str
    parts: tuple[Any, ...] = field(repr=False)


def checked_source(given: object) -> str | Dataset | InMemory:
    """A name of a data set, or a data set.

    Args:
        given: The option `dataset`. A path becomes its name. Other data are read when the run starts: a table, a data
            set of Hugging Face or of torch, a tuple of two of these for training and test, or arrays `(x, y)` or
            `(x, y, x_test, y_test)`. An array may be a tensor, a list, or a column or table of pandas. A list of such
            arrays, or of `TensorDataset`, has an entry for each task.

    Raises:
        InvalidOptionError: If it is something else; the message names its type, and says how to make a `Dataset` of it.
    """
    if isinstance(given, str | Dataset | InMemory):
        return given
    if isinstance(given, os.PathLike):
        return str(os.fspath(given))
    if isinstance(given, list) and (tasks := _tasks(given)):
        return InMemory(ARRAYS, TASKS, tasks)
    if isinstance(given, tuple) and len(given) == 2 and all(_is_arrays(one, 2) for one in given):
        return InMemory(ARRAYS, ARRAYS, (*given[0], *given[1]))
    parts = given if isinstance(given, tuple | list) and len(given) == 2 else (given,)
    kinds = [_kind(part) for part in parts]
    if kinds[0] is not None and len(set(kinds)) == 1:
        return InMemory(_name(parts[0], kinds[0]), kinds[0], tuple(parts))
    if isinstance(given, tuple | list) and len(given) in (2, 4) and all(map(_is_array, given)) and not _is_list(given):
        return InMemory(ARRAYS, ARRAYS, tuple(given))
    raise InvalidOptionError(
        "dataset has to be a name, a redwood.settings.Dataset, a DataFrame, a data set of Hugging Face or of torch, a "
        "pair of the last three (training, test), arrays (x, y) or (x, y, x_test, y_test), or a list of such arrays "
        f"with an entry for each task, but got {_described(given)}."
    )


def is_table(given: object) -> bool:
    """True of a pandas DataFrame, and of a pair of them."""
    return all(_kind(part) == TABLE for part in (given if isinstance(given, tuple) else (given,)))


def _is_array(given: object) -> bool:
    """True for an array, a tensor, a column or table of pandas, and a list."""
    has_values = hasattr(given, "__array__") and not isinstance(given, type | np.generic)
    return has_values or isinstance(given, list | tuple)


def _is_arrays(given: object, *sizes: int) -> bool:
    """True for a tuple or a list of so many arrays, whose samples are no plain list: such a list may be one sample."""
    if not isinstance(given, tuple | list) or len(given) not in sizes:
        return False
    return hasattr(given[0], "__array__") and all(map(_is_array, given))


def _is_list(given: list[Any] | tuple[Any, ...]) -> bool:
    """True for several data sets, each of which could be given alone, such as a tuple of pairs `(x, y)`."""
    return len(given) > 0 and all(
        isinstance(one, Dataset) or _is_arrays(one, 2, 4) or _kind(one) == TORCH for one in given
    )


def _tasks(given: list[Any]) -> tuple[tuple[Any, ...], ...]:
    """The arrays of each task, if a list holds nothing but such arrays; else no task.

    Raises:
        InvalidOptionError: If it is not clear whether there are tasks, or only some of them have test samples.
    """
    tensors = [isinstance(one, TensorDataset) and len(one.tensors) == 2 for one in given]
    if len(given) == 2 and all(tensors):
        raise InvalidOptionError(
            "dataset is a list of 2 TensorDatasets, which may be two tasks, or training and test; pass "
            "[one.tensors for one in dataset] for tasks, or the tuple (training, test)."
        )
    tasks = [one.tensors if known else one for one, known in zip(given, tensors, strict=True)]
    if not all(_is_arrays(one, 2, 4) for one in tasks):
        return ()
    if len({len(one) for one in tasks}) > 1:
        raise InvalidOptionError(
            "dataset is a list of tasks, of which some are (x, y) and others (x, y, x_test, y_test); give test samples "
            "to all tasks, or to none."
        )
    return tuple(map(tuple, tasks))


def _kind(given: object) -> str | None:
    """The kind of data in memory; None if it is no such data. The packages are loaded if there are objects of them."""
    pandas, datasets = sys.modules.get("pandas"), sys.modules.get("datasets")
    if pandas is not None and isinstance(given, pandas.DataFrame):
        return TABLE
    if datasets is not None and isinstance(given, datasets.Dataset | datasets.DatasetDict):
        return HUGGING_FACE
    is_stream = isinstance(given, IterableDataset) or type(given).__module__.partition(".")[0] == "datasets"
    return TORCH if isinstance(given, TorchDataset) and not is_stream else None


def _name(given: Any, kind: str) -> str:
    if kind == HUGGING_FACE:
        parts = given.values() if isinstance(given, dict) else [given]
        return next((part.info.dataset_name for part in parts if part.info.dataset_name), "hugging_face")
    while hasattr(given, "dataset"):  # a Subset
        given = given.dataset
    return "table" if kind == TABLE else type(given).__name__


def _described(given: object) -> str:
    kind = type(given)
    if isinstance(given, type):
        return f"the class {given.__name__}; pass an instance"
    article = "an" if kind.__name__[0] in "AEIOUaeiou" else "a"
    if isinstance(given, IterableDataset | Iterator) or kind.__name__ in ("IterableDataset", "IterableDatasetDict"):
        return (
            f"{article} {kind.__name__}, which is read in one direction only; pass one whose samples can be indexed, "
            "or learn from a live stream as docs/own_loop.md shows"
        )
    if callable(given):
        return f"the function {getattr(given, '__name__', kind.__name__)}; pass what it returns"
    if isinstance(given, tuple | list):
        if _is_list(given):
            return (
                f"a {kind.__name__} of {len(given)} data sets; for tasks, pass a list of arrays (x, y), one pair for "
                "each task, or Dataset.from_arrays(x, y, t=t) with the task of each sample in t"
            )
        types = described_types(given[:4]) + (", ..." if len(given) > 4 else "")
        return f"a {kind.__name__} of {len(given)} ({types}); {_MAKE} of arrays"
    return f"{article} {kind.__name__}; {_MAKE}"


_CHUNK = 4096  # number of images that are floats at one time


def resized(dataset: Dataset, side: int) -> Dataset:
    """Return `dataset` with images (N, C, side, side) in their storage dtype; itself if there is nothing to do.

    Args:
        dataset: Images (N, C, H, W) in memory, or samples that already have the size.
        side: Height and width in pixels; 0 keeps the data set's own.

    Raises:
        InvalidOptionError: If the samples are not images in memory and not of this size either.
    """
    if side == 0 or dataset.sample_shape[1:] == (side, side):
        return dataset
    return replace(
        dataset, x=_resized(dataset.name, dataset.x, side), x_test=_resized(dataset.name, dataset.x_test, side)
    )


def _resized(name: str, images: Samples, side: int) -> Tensor:
    if not isinstance(images, Tensor) or images.dim() != 4:
        raise InvalidOptionError(
            f"--image_size {side} resizes images (C, H, W), but the samples of {name} are {tuple(images.shape[1:])}; "
            "leave it out."
        )
    return resize_images(images, side)


def resize_images(images: Tensor, side: int) -> Tensor:
    """Images (N, C, H, W) as (N, C, side, side) in their dtype, by bilinear interpolation without aliasing."""
    result = images.new_empty((*images.shape[:2], side, side))
    for start in range(0, len(images), _CHUNK):
        chunk = images[start : start + _CHUNK].float()
        chunk = F.interpolate(chunk, size=(side, side), mode="bilinear", antialias=True)
        result[start : start + _CHUNK] = chunk if result.dtype.is_floating_point else torch.round(chunk)
    return result
