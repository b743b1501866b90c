"""The data sets and scenarios of continuum (Douillard and Lesort, 2021), as data sets of ours.

Importing continuum takes seconds, so it is imported when one of these functions is called.
"""

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from redwood.core.errors import DataError, UnknownNameError
from redwood.settings.data.arrays import Samples
from redwood.settings.data.continuum_tasks import (
    channels_first,
    kind_of,
    natural_size,
    read_tasks,
    refuse_traps,
    samples,
)
from redwood.settings.data.dataset import Dataset
from redwood.settings.data.download import quiet, reason, staging
from redwood.settings.data.folders import ImageFiles
from redwood.settings.data.plain_pickles import plain_pickles

if TYPE_CHECKING:
    from continuum.datasets import _ContinuumDataset
    from continuum.scenarios import _BaseScenario

# These wrap data that is given to them, so they stand for no data set by themselves.
_WRAPPERS = {"InMemoryDataset", "H5Dataset", "ImageFolderDataset", "PyTorchDataset", "Fellowship", "CTRL"}
_OPTIONS = {"EMNIST": {"split": "balanced"}}


@dataclass(frozen=True)
class _Split:
    kind: str
    x: np.ndarray
    y: np.ndarray
    t: np.ndarray | None


def load(name: str, data_dir: Path, seed: int, image_size: int) -> Dataset:
    """Load the data set that continuum calls `name`, in any case, from `data_dir`, or download it there.

    The task ids that continuum gives become `contexts` where the training and the test samples have the same ones.

    Args:
        name: Name of a class of `continuum.datasets`, "Core50" for example.
        data_dir: Folder that holds the data as continuum lays it out.
        seed: Not used: these data sets have their own test split.
        image_size: Side in pixels for data in image files; 0: the first image's if it is square, else 224.

    Raises:
        UnknownNameError: If continuum has no such data set; the nearest one is named.
        DataError: If it is neither there nor can be downloaded, is of no use for classification, or is a pickle that
            would run code.
    """
    from continuum import datasets

    base = datasets._ContinuumDataset
    classes = {
        key.lower(): value
        for key, value in vars(datasets).items()
        if inspect.isclass(value) and issubclass(value, base) and not key.startswith("_") and key not in _WRAPPERS
    }
    if name.lower() not in classes:
        names = {value.__name__.lower(): value.__name__ for value in classes.values()}
        raise UnknownNameError("data set of continuum", name, names.values())
    source = classes[name.lower()]
    train, test = _read_or_download(source, data_dir)
    title = f"continuum:{source.__name__}"
    x, x_test = (_rows(title, split, image_size) for split in (train, test))
    contexts, contexts_test = _contexts(train, test)
    y, y_test = (torch.as_tensor(np.asarray(split.y)) for split in (train, test))
    return _dataset(title, x, y, x_test, y_test, contexts, contexts_test)


def from_scenarios(train: "_BaseScenario", test: "_BaseScenario") -> Dataset:
    """Turn a pair of continuum scenarios into a data set whose `contexts` are the scenarios' tasks.

    Labels are those of the scenario (a `ClassIncremental` renumbers classes by its order). If the only transformation
    is `ToTensor`, the raw arrays are taken (uint8 stays uint8). Image files then stay files, also with a `Resize` to a
    square. Otherwise the samples of the scenario's task sets are taken. They are transformed here once, to float32 in
    memory, so random transformations are drawn once.

    Args:
        train: Any scenario that can be indexed by task, over training data.
        test: The same scenario over test data.

    Raises:
        DataError: If the scenarios disagree, or continuum would silently give wrong samples, labels or tasks.
    """
    name = f"continuum:{type(train).__name__}"
    order, order_test = (np.asarray(getattr(scenario, "class_order", None)) for scenario in (train, test))
    if not np.array_equal(order, order_test):
        raise DataError(
            f"Data set {name}: the training and the test scenario have different class orders {order.tolist()} and "
            f"{order_test.tolist()}, so their labels disagree; give both the same class_order."
        )
    tasks, tasks_test = read_tasks(name, train), read_tasks(name, test)
    x, x_test = samples(name, tasks, tasks_test)
    y, y_test = (torch.cat([torch.from_numpy(task.y) for task in part]) for part in (tasks, tasks_test))
    t, t_test = (
        torch.cat([torch.full((len(task.y),), number) for number, task in enumerate(part)])
        for part in (tasks, tasks_test)
    )
    return _dataset(name, x, y, x_test, y_test, t, t_test)


def _dataset(
    name: str, x: Samples, y: Tensor, x_test: Samples, y_test: Tensor, t: Tensor | None, t_test: Tensor | None
) -> Dataset:
    present = torch.unique(y)
    if y.dim() == 1 and not torch.equal(present, torch.arange(len(present))):
        raise DataError(
            f"Data set {name}: continuum cuts wrong tasks from labels that are not 0..K-1 without gaps (they are "
            f"{len(present)} values in {present.min()}..{present.max()}); renumber them first "
            "(numpy.unique(y, return_inverse=True)[1] does it)."
        )
    if isinstance(x, Tensor) and isinstance(x_test, Tensor):
        return Dataset.from_arrays(x, y, x_test, y_test, t, t_test, name=name)
    return Dataset(name, x, y, x_test, y_test, t, t_test, max_value=None if x.dtype.is_floating_point else 255)


def _read_or_download(source: "type[_ContinuumDataset]", data_dir: Path) -> tuple[_Split, _Split]:
    problem: Exception | None = None
    if data_dir.is_dir():  # continuum would create it
        try:
            return _read(source, data_dir, download=False)
        except DataError:
            raise
        except Exception as error:  # continuum raises whatever its reader stumbles over
            problem = error
    try:
        with staging(data_dir) as folder:
            for file in data_dir.iterdir():  # an archive that is there already is only unpacked
                if file.is_file():
                    (folder / file.name).symlink_to(file.resolve())
            _read(source, folder, download=True)
            for entry in folder.iterdir():
                if entry.is_symlink():
                    entry.unlink()
        return _read(source, data_dir, download=False)
    except DataError:
        raise
    except Exception as error:
        found = f"; reading what is there: {reason(problem)}" if problem is not None else ""
        raise DataError(
            f"Data set continuum:{source.__name__} is not (or not intact) in {data_dir} and could not be downloaded "
            f"({reason(error)}{found}): put it there as continuum.datasets.{source.__name__} expects it, or name "
            "the folder that holds it with --data_dir."
        ) from error


def _read(source: "type[_ContinuumDataset]", folder: Path, download: bool) -> tuple[_Split, _Split]:
    train, test = (_read_split(source, folder, train, download) for train in (True, False))
    return train, test


def _read_split(source: "type[_ContinuumDataset]", folder: Path, train: bool, download: bool) -> _Split:
    options: dict[str, object] = dict(_OPTIONS.get(source.__name__, {}))
    parameters = inspect.signature(source).parameters
    by_split = "split" in parameters and "train" not in parameters
    options |= {"split": "train" if train else "test"} if by_split else {"train": train}
    with quiet(), plain_pickles():
        data = source(data_path=str(folder), download=download, **options)
        x, y, t = data.get_data()
    if len(y) == 0:
        raise FileNotFoundError(f"no samples in {folder}")
    refuse_traps(f"continuum:{source.__name__}", kind_of(data), x, y, data.bounding_boxes)
    return _Split(kind_of(data), x, y, t)


def _rows(name: str, split: _Split, image_size: int) -> Samples:
    if split.kind == "IMAGE_PATH":
        return ImageFiles(split.x, image_size or natural_size(split.x[0]))
    return channels_first(name, split.kind, split.x)


def _contexts(train: _Split, test: _Split) -> tuple[Tensor, Tensor] | tuple[None, None]:
    """Return the task ids of both splits as int64 (N,), (M,), if both have the same, 0..T-1 with T > 1."""
    if train.t is None or test.t is None:
        return None, None
    contexts, contexts_test = (torch.as_tensor(np.asarray(split.t)).long() for split in (train, test))
    present = torch.unique(contexts)
    usable = len(present) > 1 and torch.equal(present, torch.arange(len(present)))
    return (contexts, contexts_test) if usable and torch.equal(present, torch.unique(contexts_test)) else (None, None)
