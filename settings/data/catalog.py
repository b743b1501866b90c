"""Load a data set by its name: one of the table, a scenario of continuum, a file, or a function of the user."""

import inspect
import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from redwood.core.errors import DataError, InvalidOptionError
from redwood.core.registry import look_up
from redwood.settings.data import continuum_adapter, files, hugging_face, image_folder, tables, torch_sets
from redwood.settings.data.columns import NO_COLUMNS, Columns
from redwood.settings.data.conversion import ARRAYS, HUGGING_FACE, TABLE, TASKS, InMemory, checked_source, resized
from redwood.settings.data.dataset import Dataset
from redwood.settings.data.sources import ARRAY_FILES, TABLE_FILES, path_of, refuse_absent
from redwood.settings.data.table import DATASETS, ENTRY_POINTS


def load_dataset(
    name: str,
    data_dir: Path,
    seed: int,
    image_size: int,
    columns: Columns = NO_COLUMNS,
    folders: Collection[str] = (),
) -> Dataset:
    """Load the data set that `name` stands for.

    Args:
        name: A key of `DATASETS`, `continuum:NAME`, or `hf:FOLDER` or `hf:NAME` of Hugging Face. Or a path, also
            relative to `data_dir`, to an .npz, .h5, .hdf5, .csv or .parquet file, or to a folder of images with one
            folder per class. Or `package.module:function`, `path/to/file.py:function`, or an entry point of the group
            `redwood.datasets`.
        data_dir: Folder that holds the data, or that a download goes to.
        seed: Draws the test samples where the source has no test split of its own.
        image_size: Side of the images in pixels; 0 keeps the source's own.
        columns: The uses of the columns of a file; empty names: the usual ones, or none.
        folders: The task folders of a folder of images to take, see `image_folder`; empty: all.

    Raises:
        UnknownNameError: If there is no such data set; the nearest one is named.
        DataError: If the data is missing or unreadable, or the source is no data source.
        InvalidOptionError: If `image_size` is negative, or given for data that is no images; or if a column of
            `columns` is not there.
    """
    if image_size < 0:
        raise InvalidOptionError(
            f"--image_size is a number of pixels, or 0 for the data set's own size; got {image_size}."
        )
    return resized(_load(name, Path(data_dir).expanduser(), seed, image_size, columns, folders), image_size)


def load_in_memory(given: InMemory, seed: int, image_size: int, columns: Columns = NO_COLUMNS) -> Dataset:
    """Make a data set of data given from Python; all else is as in `load_dataset`."""
    if given.kind == TABLE:
        data = tables.from_frames(given.name, given.parts, columns, seed)
    elif given.kind == HUGGING_FACE:
        data = hugging_face.from_datasets(given.name, given.parts, columns, seed, image_size)
    elif given.kind in (ARRAYS, TASKS):
        columns.refuse("of arrays")
        read = torch_sets.from_arrays if given.kind == ARRAYS else torch_sets.from_tasks
        data = read(given.name, given.parts, seed)
    else:
        columns.refuse(f"of the class {given.name}")
        data = torch_sets.from_torch(given.name, given.parts, seed, image_size)
    return resized(data, image_size)


def _load(name: str, data_dir: Path, seed: int, image_size: int, columns: Columns, folders: Collection[str]) -> Dataset:
    refuse_absent(name, data_dir)
    path = path_of(name.removeprefix("hf:"), data_dir)
    if name.startswith("hf:"):
        return hugging_face.load(name, path, columns, seed, image_size)
    if name.lower().endswith(TABLE_FILES):
        return tables.load(path, columns, seed)
    if name.lower().endswith(ARRAY_FILES):
        replace(columns, slices="").refuse(name)
        return files.load(path, seed, columns.slices)
    columns.refuse(name)
    if name.startswith("continuum:"):
        return continuum_adapter.load(name.removeprefix("continuum:"), data_dir, seed, image_size)
    if path.is_dir() and name not in DATASETS:
        return image_folder.image_folder(path, seed, image_size, folders)
    return _call(
        name, look_up("data set", name, DATASETS, ENTRY_POINTS, inspect.isfunction), data_dir, seed, image_size
    )


def _call(name: str, source: object, data_dir: Path, seed: int, image_size: int) -> Dataset:
    """Call a data source, maybe a function of the user; it returns a value that the option takes from Python."""
    wanted = f"The data source {name!r} must be a function (data_dir, seed, image_size) that returns a data set"
    if not callable(source):
        raise DataError(f"{wanted}, but it is a {type(source).__name__}.")
    try:
        inspect.signature(source).bind(data_dir, seed, image_size)
    except TypeError as error:
        raise DataError(f"{wanted}, but it takes {inspect.signature(source)}.") from error
    found = source(data_dir, seed, image_size)
    if isinstance(found, str | os.PathLike):
        raise DataError(f"{wanted}, but it returned a {type(found).__name__}; name that by --dataset.")
    try:
        given = checked_source(found)
    except InvalidOptionError as error:
        raise DataError(f"{wanted}, but what it returned is none: {error}") from error
    assert not isinstance(given, str)
    return load_in_memory(given, seed, image_size) if isinstance(given, InMemory) else given
