"""Data sets in a single .npz or HDF5 file."""

import contextlib
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from redwood.settings.data.dataset import Dataset
from redwood.settings.data.holdout import hold_out
from redwood.settings.errors import DataError

_NAMES = ("x", "y", "t", "x_test", "y_test", "t_test")


def load(path: Path, seed: int) -> Dataset:
    """Read a data set from `path` (.npz, .h5 or .hdf5).

    The file holds the arrays `x` (N, ...), images as (N, C, H, W), and `y` (N,), integers 0..K-1, or floats (N,) or
    (N, d) for regression; optionally the task of each sample `t` (N,), integers 0..T-1; and `x_test`, `y_test`,
    `t_test` likewise. Without these, one fifth of the samples of each class (and task), drawn by `seed`, is the test
    split. Bytes are scaled by 255, wider integers by their largest training value.

    Raises:
        DataError: If the file is missing, unreadable or truncated, lacks an array, or holds values that are no numbers.
    """
    if not path.is_file():
        raise DataError(f"The data file {path} does not exist; give the path of an .npz, .h5 or .hdf5 file.")
    arrays = _read(path)
    pairs = (("x", "y"), ("y", "x"), ("x_test", "y_test"), ("y_test", "x_test"), ("x_test", "t_test"))
    for name, partner in pairs:
        if name not in arrays and (partner in arrays or name == "x"):
            raise DataError(
                f"The data file {path} has no array {name!r}, only {sorted(arrays)}; it needs x and y, and may have t, "
                "x_test, y_test and t_test."
            )
    if "x_test" not in arrays:
        arrays = _split(path.stem, arrays, seed)
    x = arrays["x"]
    wide = x.dtype.kind in "iu" and x.dtype.itemsize > 1
    return Dataset.from_arrays(**arrays, name=path.stem, max_value=max(1.0, float(x.max(initial=0))) if wide else None)


def _read(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of the file under the names that are ours."""
    try:
        with _open(path) as file:
            return {name: _number(path, name, np.asarray(file[name])) for name in _NAMES if name in file}
    except DataError:
        raise
    except (OSError, EOFError, KeyError, ValueError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        remedy = "save it again as plain arrays" if "pickle" in str(error) else "write it again"
        raise DataError(f"The data file {path} cannot be read ({error}); {remedy}.") from error


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Mapping[str, Any]]:
    if path.suffix.lower() == ".npz":
        file = np.load(path, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise DataError(f"The data file {path} is a single array; save x and y in it with numpy.savez.")
        with file:
            yield file
    else:
        import h5py

        with h5py.File(path, "r") as file:
            yield file


def _number(path: Path, name: str, array: np.ndarray) -> np.ndarray:
    """Return `array` in a dtype that torch computes with."""
    if array.dtype.kind not in "iuf":
        raise DataError(
            f"The array {name!r} of {path} holds {array.dtype}, not numbers; save it as integers or floats."
        )
    if array.dtype.kind == "f":
        return array.astype(np.float32, copy=False)
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:  # torch can store these, but hardly compute with them
        return array.astype(np.int64 if array.dtype.itemsize > 2 else np.int32)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _split(name: str, arrays: dict[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """Hold out test samples of `x`, `y` and `t`, in the same proportion for every class and task."""
    arrays = {key: arrays[key] for key in ("x", "y", "t") if key in arrays}
    numbers = arrays["y"].dtype.kind == "f"
    if len({array.shape[:1] for array in arrays.values()}) > 1 or (arrays["y"].ndim != 1 and not numbers):
        shapes = ", ".join(f"{key} {array.shape}" for key, array in arrays.items())
        raise DataError(f"Data set {name}: the arrays need as many labels as samples, in one dimension; got {shapes}.")
    classes = np.zeros(len(arrays["y"]), np.int64) if numbers else arrays["y"]
    keys = np.stack([classes, *(arrays[key] for key in ("t",) if key in arrays)], axis=1)
    strata = np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)
    train, test = hold_out(name, strata, seed)
    parts = {key: array[train.numpy()] for key, array in arrays.items()}
    return parts | {f"{key}_test": array[test.numpy()] for key, array in arrays.items()}
