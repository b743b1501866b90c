"""Data sets by name: the table of our own, and how any other source is found."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redwood.core.errors import DataError, InvalidOptionError, UnknownNameError
from redwood.core.registry import look_up

if TYPE_CHECKING:  # importing the table must not import torch
    from redwood.settings.data.dataset import Dataset

DATASETS: dict[str, str] = {
    "digits": "redwood.settings.data.image_sets:digits",
    "mnist": "redwood.settings.data.image_sets:mnist",
    "fashion_mnist": "redwood.settings.data.image_sets:fashion_mnist",
    "kmnist": "redwood.settings.data.image_sets:kmnist",
    "emnist": "redwood.settings.data.image_sets:emnist",
    "cifar10": "redwood.settings.data.image_sets:cifar10",
    "cifar100": "redwood.settings.data.image_sets:cifar100",
    "svhn": "redwood.settings.data.image_sets:svhn",
    "tiny_imagenet": "redwood.settings.data.folders:tiny_imagenet",
    "core50": "redwood.settings.data.folders:core50",
    "image_folder": "redwood.settings.data.folders:image_folder",
} | {
    f"drift_{task}:{kind}": f"redwood.settings.data.drift:{task}_{kind}"
    for task in ("regression", "classification")
    for kind in ("stationary", "gradual", "abrupt", "recurring", "regional")
}
"""Key -> `module:function`; each is a data source `(data_dir, seed, image_size) -> Dataset`."""

GROUP = "redwood.datasets"
"""Entry-point group in which other packages name their data sources."""


def load_dataset(name: str, data_dir: Path, seed: int, image_size: int) -> "Dataset":
    """Load the data set that `name` stands for.

    Args:
        name: A key of `DATASETS`, `continuum:NAME`, a path to an .npz, .h5 or .hdf5 file (also relative to `data_dir`),
            `package.module:function`, `path/to/file.py:function`, or an entry point of the group `redwood.datasets`.
        data_dir: Folder that holds the data, or that a download goes to.
        seed: Draws the test samples where the source has no test split of its own.
        image_size: Side of the images in pixels; 0 keeps the source's own.

    Raises:
        UnknownNameError: If there is no such data set; the nearest one is named.
        DataError: If the data is missing or unreadable, or the source is no data source.
        InvalidOptionError: If `image_size` is negative, or given for data that is no images.
    """
    from redwood.settings.data.conversion import resized

    if image_size < 0:
        raise InvalidOptionError(
            f"--image_size is a number of pixels, or 0 for the data set's own size; got {image_size}."
        )
    return resized(_load(name, Path(data_dir).expanduser(), seed, image_size), image_size)


def _load(name: str, data_dir: Path, seed: int, image_size: int) -> "Dataset":
    if name.startswith("continuum:"):
        from redwood.settings.data import continuum_adapter

        return continuum_adapter.load(name.removeprefix("continuum:"), data_dir, seed, image_size)
    if name.lower().endswith((".npz", ".h5", ".hdf5")):
        from redwood.settings.data import files

        path, beside = Path(name).expanduser(), data_dir / name
        return files.load(beside if beside.is_file() and not path.is_file() else path, seed)
    kind = f"{name.partition(':')[0]}:"
    kinds = [key for key in DATASETS if key.startswith(kind)]
    if kinds and name not in DATASETS:
        raise UnknownNameError("data set", name, kinds)
    return _call(name, look_up("data set", name, DATASETS, GROUP, inspect.isfunction), data_dir, seed, image_size)


def _call(name: str, source: Callable[..., Any], data_dir: Path, seed: int, image_size: int) -> "Dataset":
    """Call a data source that may be the user's own."""
    from redwood.settings.data.dataset import Dataset

    wanted = f"The data source {name!r} must be a function (data_dir, seed, image_size) that returns a Dataset"
    if not callable(source):
        raise DataError(f"{wanted}, but it is a {type(source).__name__}.")
    try:
        inspect.signature(source).bind(data_dir, seed, image_size)
    except TypeError as error:
        raise DataError(f"{wanted}, but it takes {inspect.signature(source)}.") from error
    dataset = source(data_dir, seed, image_size)
    if not isinstance(dataset, Dataset):
        raise DataError(f"{wanted}, but it returned a {type(dataset).__name__}; Dataset.from_arrays makes one.")
    return dataset
