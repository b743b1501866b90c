"""Data sets in a single .npz or HDF5 file."""

import contextlib
import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from redwood.core.errors import DataError, InvalidOptionError
from redwood.core.memory import available_on_host
from redwood.settings.data.dataset import Dataset
from redwood.settings.data.given_arrays import coded_texts, text_of
from redwood.settings.data.holdout import check_any, hold_out, hold_out_along, rarest_label
from redwood.settings.data.sources import ARRAY_FILES, refuse_no_file

SUFFIXES = ARRAY_FILES
_ONE_ARRAY = b"\x93NUMPY"  # the begin of a file of one array
_TEXTS = "USO"  # kinds of arrays that hold texts
_OF_SAMPLES = ("x", "y", "t", "time")
_NAMES = (*_OF_SAMPLES, *(f"{name}_test" for name in _OF_SAMPLES), "test", "class_names")


def load(path: Path, seed: int, slices: str = "") -> Dataset:
    """Read a data set from `path` (.npz, .h5 or .hdf5).

    The file holds the arrays `x` (N, ...), images as (N, C, H, W), and `y`. `y` is integers 0..K-1 (N,), or floats (N,)
    or (N, d) for regression, or bool (N, L) where a sample may have several labels. Two arrays are optional: `t` (N,),
    integers 0..T-1, is the task of each sample; `time` (N,), numbers or dates, is when it was taken. Bytes are scaled
    by 255, wider integers by their largest training value.

    The test split is `x_test`, `y_test`, `t_test` and `time_test` likewise; or the samples that the mask `test` (N,)
    marks. Without either, one fifth of the samples of each class (and task), drawn by `seed`, is the test split. Where
    order matters (regression, or a file with `time`), it is one of about five consecutive samples, all along the
    stream. Classes have names where `y` (N,) holds texts, or where the texts `class_names` (K,) name 0..K-1.

    Args:
        path: The file.
        seed: Draws the test samples.
        slices: Name of an array (N,) of numbers or strings: the slice of each sample, whose scores are reported apart.
            The slices of `x_test` are in the array of this name with `_test` behind it. Empty: none.

    Raises:
        DataError: If the file is missing, unreadable or truncated, lacks an array, or holds values that are no numbers.
        InvalidOptionError: If the file has no array `slices`.
    """
    refuse_no_file(path.name, path)
    arrays: dict[str, Any] = _read(path, slices)
    pairs = (
        ("x", "y"),
        ("y", "x"),
        ("x_test", "y_test"),
        ("y_test", "x_test"),
        ("x_test", "t_test"),
        ("x_test", "time_test"),
    )
    for name, partner in pairs:
        if name not in arrays and (partner in arrays or name == "x"):
            raise DataError(
                f"The data file {path} has no array {name!r}, only {_names_in(path)}; it needs x and y, and may have "
                "t, time, x_test, y_test, t_test, time_test and test."
            )
    if "x_test" in arrays and "test" in arrays:
        raise DataError(f"The data file {path} has both x_test and the mask test; leave one of them out.")
    ordered = "time" in arrays
    names = _class_names(path, arrays)
    if "x_test" not in arrays:
        arrays = _split(path.stem, arrays, seed)
    x = arrays["x"]
    wide = x.dtype.kind in "iu" and x.dtype.itemsize > 1
    max_value = max(1.0, float(x.max(initial=0))) if wide else None
    return Dataset.from_arrays(**arrays, name=path.stem, max_value=max_value, ordered=ordered, class_names=names)


def read_samples(path: Path) -> tuple[Tensor, Tensor | None, Tensor | None, list[str]]:
    """Read samples that may have no labels: the arrays `x`, `y` and `t`, and `class_names`, of an .npz or HDF5 file.

    Returns:
        Samples (N, ...); labels, label sets or targets (N, ...) or None; tasks (N,) or None; names of the classes.

    Raises:
        DataError: If the file is missing or unreadable, has no array `x`, or not as many labels as samples.
    """
    refuse_no_file(path.name, path)
    arrays = _read(path, "")
    if "x" not in arrays:
        raise DataError(f"The data file {path} has no array 'x', only {sorted(arrays)}; save the samples as x.")
    for name in ("y", "t"):
        if name in arrays and arrays[name].shape[:1] != arrays["x"].shape[:1]:
            raise DataError(
                f"The data file {path} has {name} {arrays[name].shape} for x {arrays['x'].shape}; save as many of both."
            )
    names = _class_names(path, arrays)
    x, y, t = (torch.from_numpy(arrays[name]) if name in arrays else None for name in ("x", "y", "t"))
    assert x is not None
    return x, y, t, names


def _names_in(path: Path) -> list[str]:
    with _open(path) as file:
        return sorted(file)


def _read(path: Path, slices: str) -> dict[str, np.ndarray]:
    """Return the arrays of the file that redwood knows by name, and the column of slices."""
    try:
        with _open(path) as file:
            arrays = {name: _number(path, name, np.asarray(file[name])) for name in _NAMES if name in file}
            return arrays | (_slices(path, file, slices) if slices else {})
    except (DataError, InvalidOptionError):
        raise
    except MemoryError as error:
        raise DataError(f"The data file {path} needs more memory than there is; leave samples out.") from error
    except (OSError, EOFError, KeyError, ValueError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        remedy = "save it again as plain arrays" if "pickle" in str(error) else "write it again"
        raise DataError(f"The data file {path} cannot be read ({error}); {remedy}.") from error


def _class_names(path: Path, arrays: dict[str, np.ndarray]) -> list[str]:
    """The names of the classes; where labels are texts, these are numbered in place, in the order of the texts."""
    given = [text_of(name) for name in arrays.pop("class_names", np.array([])).reshape(-1).tolist()]
    splits = [name for name in ("y", "y_test") if name in arrays]
    coded, names = coded_texts(f"The data file {path}", "y", *(arrays[name] for name in splits))
    if names and given:
        raise DataError(f"The data file {path} has texts in y beside class_names; leave one of them out.")
    arrays |= zip(splits, coded, strict=True)
    return names or given


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Mapping[str, Any]]:
    if path.suffix.lower() == ".npz":
        with path.open("rb") as file:
            if file.read(len(_ONE_ARRAY)) == _ONE_ARRAY:
                raise DataError(f"The data file {path} is a single array; save x and y in it with numpy.savez.")
        with zipfile.ZipFile(path) as archive:
            _check_arrays(path, archive)
        with np.load(path, allow_pickle=False) as arrays:
            yield arrays
    else:
        import h5py

        with h5py.File(path, "r") as file:
            named = [file[name] for name in _NAMES if isinstance(file.get(name), h5py.Dataset)]
            _refuse_too_large(path, sum(array.nbytes for array in named))
            yield file


def _check_arrays(path: Path, archive: zipfile.ZipFile) -> None:
    """Raise `ValueError` if the shape of an array is not that of its bytes: memory for the shape would be taken first.

    Raises:
        DataError: If the memory is too small for the arrays that redwood knows.
    """
    known = [member for member in archive.infolist() if member.filename.removesuffix(".npy") in _NAMES]
    _refuse_too_large(path, sum(member.file_size for member in known))
    for member in archive.infolist():
        with archive.open(member) as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(file)
            held = member.file_size - file.tell()
        if not dtype.hasobject and math.prod(shape) * dtype.itemsize != held:
            name = member.filename.removesuffix(".npy")
            raise ValueError(f"the array {name!r} of shape {shape} needs other than the {held} bytes that it has")


def _refuse_too_large(path: Path, n_bytes: int) -> None:
    """Raise `DataError` if there is not as much memory. A small file may hold much: zeros are packed 1,000 to 1."""
    free = available_on_host()
    if n_bytes > free:
        raise DataError(
            f"The data file {path} unpacks to {n_bytes:,} bytes, but {free:,} bytes of memory are available; leave "
            "samples out, or use a machine with more."
        )


def _number(path: Path, name: str, array: np.ndarray) -> np.ndarray:
    """Return `array` in a dtype that torch computes with; times and masks as they are."""
    if name == "test" and array.dtype == bool:
        return array
    if name.startswith("time"):
        return array  # 32 bits would make one of many; `Dataset.from_arrays` checks them
    if name in ("y", "y_test") and array.dtype == bool and array.ndim == 2:
        return array  # label sets
    if name == "class_names" or (name in ("y", "y_test") and array.dtype.kind in _TEXTS):
        return array
    if array.dtype.kind not in "iuf":
        raise DataError(
            f"The array {name!r} of {path} holds {array.dtype}, not numbers; save it as integers or floats."
        )
    if array.dtype.kind == "f":
        return array.astype(np.float32, copy=False)
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:  # torch stores these, but supports few operations
        return array.astype(np.int64 if array.dtype.itemsize > 2 else np.int32)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _slices(path: Path, file: Mapping[str, object], column: str) -> dict[str, np.ndarray]:
    """The slice of each sample, by the name of a column; a file with test samples needs it of these, too."""
    names = {"slices": column} | ({"slices_test": f"{column}_test"} if "x_test" in file else {})
    for name in names.values():
        if name not in file:
            raise InvalidOptionError(
                f"--slices {column} needs an array {name!r} in {path}, which has only {sorted(file)}; name one of them."
            )
    return {key: np.asarray(file[name]) for key, name in names.items()}


def _split(name: str, arrays: dict[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """Hold out the samples of the mask, or the same share of every class and task; keep the order."""
    mask = arrays.get("test")
    arrays = {key: arrays[key] for key in (*_OF_SAMPLES, "slices") if key in arrays}
    y = arrays["y"]
    one_each = y.dtype.kind not in "fb"
    if len({array.shape[:1] for array in arrays.values()}) > 1 or (y.ndim != 1 and one_each):
        shapes = ", ".join(f"{key} {array.shape}" for key, array in arrays.items())
        remedy = "; save y as bool where a sample may have several labels" if y.ndim == 2 else ""
        raise DataError(
            f"Data set {name}: the arrays need as many labels as samples, in one dimension; got {shapes}{remedy}."
        )
    check_any(name, len(y))
    if mask is not None:
        is_test = _checked_mask(name, mask, len(y))
    else:
        is_test = np.zeros(len(y), dtype=bool)
        is_test[_held_out(name, arrays, seed)] = True
    # A test sample belongs to the task of its place in the file.
    arrays.setdefault("time", np.arange(len(y)))
    parts = {key: array[~is_test] for key, array in arrays.items()}
    return parts | {f"{key}_test": array[is_test] for key, array in arrays.items()}


def _held_out(name: str, arrays: dict[str, np.ndarray], seed: int) -> np.ndarray:
    """The rows of the test samples."""
    y = arrays["y"]
    numbers = y.dtype.kind == "f"
    classes = np.zeros(len(y), np.int64) if numbers else y
    if y.dtype == bool:
        tasks, classes = arrays.get("t", np.zeros(len(y))), np.zeros(len(y), np.int64)
        for task in np.unique(tasks):
            classes[tasks == task] = rarest_label(y[tasks == task])
    keys = np.stack([classes, *(arrays[key] for key in ("t",) if key in arrays)], axis=1)
    strata = np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)
    if numbers or "time" in arrays:
        order = np.argsort(arrays["time"], kind="stable") if "time" in arrays else np.arange(len(y))
        return hold_out_along(name, strata, order, seed)[1].numpy()
    return hold_out(name, strata, seed)[1].numpy()


def _checked_mask(name: str, mask: np.ndarray, n: int) -> np.ndarray:
    if mask.shape != (n,) or not np.isin(mask, (0, 1)).all():
        raise DataError(
            f"Data set {name}: the mask test needs one value, 0 or 1, for each of the {n} samples; "
            f"got shape {mask.shape} and values from {mask.min(initial=0):g} to {mask.max(initial=0):g}."
        )
    return mask.astype(bool)
