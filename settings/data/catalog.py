"""Load a data set by its name: one of the table, a scenario of continuum, a file, or a function of the user."""

import inspect
from pathlib import Path

from redwood.core.errors import DataError, InvalidOptionError, UnknownNameError
from redwood.core.registry import look_up
from redwood.settings.data import continuum_adapter, files
from redwood.settings.data.conversion import resized
from redwood.settings.data.dataset import Dataset
from redwood.settings.data.table import DATASETS, ENTRY_POINTS


def load_dataset(name: str, data_dir: Path, seed: int, image_size: int, slices: str = "") -> Dataset:
    """Load the data set that `name` stands for.

    Args:
        name: A key of `DATASETS`, `continuum:NAME`, a path to an .npz, .h5 or .hdf5 file (also relative to `data_dir`),
            `package.module:function`, `path/to/file.py:function`, or an entry point of the group `redwood.datasets`.
        data_dir: Folder that holds the data, or that a download goes to.
        seed: Draws the test samples where the source has no test split of its own.
        image_size: Side of the images in pixels; 0 keeps the source's own.
        slices: Column of a file that holds the slice of each sample; empty: none.

    Raises:
        UnknownNameError: If there is no such data set; the nearest one is named.
        DataError: If the data is missing or unreadable, or the source is no data source.
        InvalidOptionError: If `image_size` is negative, or given for data that is no images; or if there is no column
            `slices`.
    """
    if image_size < 0:
        raise InvalidOptionError(
            f"--image_size is a number of pixels, or 0 for the data set's own size; got {image_size}."
        )
    return resized(_load(name, Path(data_dir).expanduser(), seed, image_size, slices), image_size)


def _load(name: str, data_dir: Path, seed: int, image_size: int, slices: str) -> Dataset:
    is_file = name.lower().endswith((".npz", ".h5", ".hdf5"))
    if slices and not is_file:
        raise InvalidOptionError(
            f"--slices {slices} names a column of a data file, but --dataset {name} is none; give an .npz, .h5 or "
            ".hdf5 file, or leave it out for slices by class."
        )
    if name.startswith("continuum:"):
        return continuum_adapter.load(name.removeprefix("continuum:"), data_dir, seed, image_size)
    if is_file:
        path, beside = Path(name).expanduser(), data_dir / name
        return files.load(beside if beside.is_file() and not path.is_file() else path, seed, slices)
    kind = f"{name.partition(':')[0]}:"
    kinds = [key for key in DATASETS if key.startswith(kind)]
    if kinds and name not in DATASETS:
        raise UnknownNameError("data set", name, kinds)
    return _call(
        name, look_up("data set", name, DATASETS, ENTRY_POINTS, inspect.isfunction), data_dir, seed, image_size
    )


def _call(name: str, source: object, data_dir: Path, seed: int, image_size: int) -> Dataset:
    """Call a data source, which may be a function of the user."""
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
