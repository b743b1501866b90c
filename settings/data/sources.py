"""Check the name of a data set: its kind, and whether its files exist. This file imports no heavy library."""

import os
from pathlib import Path

from redwood.core.errors import DataError, UnknownNameError
from redwood.core.registry import known_names, names_code
from redwood.settings.data.table import DATASETS, ENTRY_POINTS

ARRAY_FILES = (".npz", ".h5", ".hdf5")
TABLE_FILES = (".csv", ".parquet")
IMAGE_FILES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")  # those of torchvision


def path_of(name: str, data_dir: Path) -> Path:
    """A path as given, or in `data_dir` if it is only there."""
    path, beside = Path(name).expanduser(), data_dir / name
    return beside if beside.exists() and not path.exists() else path


def refuse_absent(name: str, data_dir: Path) -> None:
    """Refuse the name of a data set that does not exist, before anything is read.

    Args:
        name: A name as `--dataset` takes it.
        data_dir: Folder of data sets.

    Raises:
        DataError: If it is a path that does not exist, a file that is no data, or a list of data sets.
        UnknownNameError: If there is no such data set; the nearest one is named.
    """
    path = path_of(name, data_dir)
    if name in DATASETS or name.startswith(("hf:", "continuum:")) or path.is_dir():
        return
    parts = [part.strip() for part in name.split(",")]
    if len(parts) > 1 and not path.exists():
        raise DataError(
            f"--dataset {name} names {len(parts)} data sets, which are the tasks of a stream; add --stream tasks."
        )
    refuse_no_file(name, path)
    kind = f"{name.partition(':')[0]}:"
    kinds = [key for key in DATASETS if key.startswith(kind)]
    if kinds:
        raise UnknownNameError("data set", name, kinds)
    known = known_names("data set", DATASETS, ENTRY_POINTS)
    if not (
        name in known or name in known.values() or names_code(name) or name.lower().endswith(ARRAY_FILES + TABLE_FILES)
    ):
        if path.exists():
            raise DataError(
                f"--dataset {name} is a file of a kind that is not read; give a folder of images, or an .npz, .h5, "
                ".hdf5, .csv or .parquet file."
            )
        raise UnknownNameError("data set", name, known)


def refuse_no_file(name: str, path: Path) -> None:
    """Refuse the name of a table, a file of arrays or a path that leads nowhere."""
    is_table, is_array_file = name.lower().endswith(TABLE_FILES), name.lower().endswith(ARRAY_FILES)
    if is_table or is_array_file:
        what = f"The {'table' if is_table else 'data file'} {path}"
        kinds = "a .csv or .parquet file" if is_table else "an .npz, .h5 or .hdf5 file"
        if not path.exists():
            raise DataError(f"{what} does not exist; give the path of {kinds}.")
        if not path.is_file():
            raise DataError(f"{what} is no regular file; give the path of {kinds}.")
    elif ("/" in name or os.sep in name) and ":" not in name and not path.exists():
        raise DataError(f"--dataset {name} names no folder or file that is there; look at its path.")
