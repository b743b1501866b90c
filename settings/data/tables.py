"""Tables as data sets: a pandas DataFrame, a .csv or a .parquet file."""

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from redwood.core.errors import DataError, reason_of
from redwood.core.extras import load_extra
from redwood.settings.data.columns import Columns
from redwood.settings.data.dataset import Dataset, shortened
from redwood.settings.data.rows import dataset_of_rows, is_text, read_rows, refuse_missing
from redwood.settings.data.sources import IMAGE_FILES, TABLE_FILES, refuse_no_file

if TYPE_CHECKING:
    import pandas

SUFFIXES = TABLE_FILES
_LOOKED_AT = 20  # of the texts of a column
# By default, pandas reads some 256 kB at a time, which would be a row or less of a wider table.
_MANY_COLUMNS = 10_000
# A column of texts with more values than this is no category.
MOST_CATEGORIES = 50


def load(path: Path, columns: Columns, seed: int) -> Dataset:
    """Read a data set from a .csv or a .parquet file; see `read_table` and `from_frames`.

    Raises:
        RedwoodError: If the file is missing or unreadable, or its columns do not fit.
    """
    return from_frames(path.stem, [read_table(path, columns)], columns, seed)


def read_table(path: Path, columns: Columns) -> "pandas.DataFrame":
    """The DataFrame of a .csv file (commas, names in the first line) or a .parquet file.

    A first column without a name is the row number that pandas writes, and is left out.

    Args:
        path: The file.
        columns: The columns that are no features.

    Raises:
        RedwoodError: If the file is missing or unreadable, or several of its columns have the name of one of these.
    """
    refuse_no_file(path.name, path)
    pandas = load_extra("pandas", "data", f"The table {path}")
    is_csv = path.suffix.lower() == ".csv"
    try:
        names = _header(path) if is_csv else []
        if len(names) > _MANY_COLUMNS:
            frame = pandas.read_csv(path, low_memory=False).copy()  # a copy lies in one piece, not in one per column
        else:
            frame = pandas.read_csv(path) if is_csv else pandas.read_parquet(path)
    except (OSError, ValueError, ImportError, csv.Error) as error:  # bases of all that pandas and pyarrow raise
        raise DataError(f"The table {path} cannot be read ({reason_of(error)}); write it again.") from error
    columns.refuse_twice(path.stem, names)  # pandas has given the later ones other names
    if is_csv and len(frame.columns) == 1 and ";" in str(frame.columns[0]):
        raise DataError(f"The table {path} separates its columns by semicolons; write it with commas.")
    if is_csv and len(frame.columns) and str(frame.columns[0]) == "Unnamed: 0":
        frame = frame.iloc[:, 1:]
    return frame


def _header(path: Path) -> list[str]:
    """The names of the columns of a .csv file as they are written."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return next((line for line in csv.reader(file) if line), [])


def from_frames(name: str, frames: Sequence["pandas.DataFrame"], columns: Columns, seed: int) -> Dataset:
    """Make a data set of a table, or of one for training and one for the test.

    Integers, truth values and texts of the target column are classes, floats are numbers to predict. All columns that
    have no other use are features. Numbers and truth values stay as they are; texts of up to 50 values (and categories)
    become one 0/1 column for each value. The features may also be one column whose cells are arrays of one shape.

    Args:
        name: Name in results.
        frames: One pandas DataFrame, of which test rows are drawn by `seed`; or one for training and one for the test.
        columns: Target, task, time and slices.
        seed: Draws the test rows.

    Raises:
        DataError: If a value is missing, or a column of a type that is no feature.
        InvalidOptionError: If a column is not there.
    """
    frames = [_with_columns(name, frame, columns) for frame in frames]
    target = columns.find_target(name, frames[0].columns)
    for frame in frames:
        columns.check_others(name, target, frame.columns)
        if not len(frame):
            raise DataError(f"Data set {name}: the table has no rows; add some.")
    if set(frames[0].columns) != set(frames[-1].columns):
        differing = sorted(set(frames[0].columns) ^ set(frames[-1].columns))
        raise DataError(
            f"Data set {name}: only one of the training and the test table has the column {differing[0]}; give both "
            "the same columns."
        )
    table = load_extra("pandas", "data", "A table").concat(frames, ignore_index=True)
    refuse_missing(name, table)
    rows = read_rows(name, table, target, columns, seed, n_test=len(frames[1]) if len(frames) > 1 else 0)
    others = {target, columns.task, columns.time, columns.slices} - {""}
    x, names = features_of(name, table.drop(columns=list(others)), columns.features)
    data = dataset_of_rows(name, rows, lambda index: x[index], names)
    return replace(data, note=_found(data))


def _found(data: Dataset) -> str:
    """The first line of a run: the rows, what is predicted, the tasks and the features."""
    features = f"{len(data.feature_names)} features ({shortened(data.feature_names)})" if data.feature_names else ""
    predicted = "numbers to predict" if data.is_regression else f"{data.n_classes} classes ({shortened(data.called)})"
    tasks = f" in {len(data.task_names)} tasks ({shortened(data.task_names)})" if data.task_names else ""
    return (
        f"{data.name}: {len(data.y)} training and {len(data.y_test)} test rows of {predicted}{tasks}"
        f"{', ' * bool(features)}{features}"
    )


def _with_columns(name: str, frame: "pandas.DataFrame", columns: Columns) -> "pandas.DataFrame":
    """The table with texts as names of its columns; an index that an option names becomes a column."""
    if frame.index.name in {columns.task, columns.time, columns.slices, columns.target} - {""}:
        frame = frame.reset_index()
    frame = frame.rename(columns=str)
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise DataError(f"Data set {name}: the table has several columns named {twice}; rename them.")
    return frame


def features_of(name: str, frame: "pandas.DataFrame", wanted: Sequence[str] = ()) -> tuple[Tensor, tuple[str, ...]]:
    """The features of a table: (N, D) float32 of numbers and texts, or (N, ...) of one column whose cells are arrays.

    Args:
        name: The data set, for messages.
        frame: A pandas DataFrame of the features alone.
        wanted: Names of the features (D,) that it has to have; columns may come in another order. Empty: any.

    Returns:
        The features, and the name of each (D,); no names of arrays.

    Raises:
        DataError: If there is no column, or one is of another type, or values are missing or infinite; or the features
            are not the wanted ones.
    """
    if not len(frame.columns):
        raise DataError(f"Data set {name}: the table has no column beside the named ones; add features.")
    refuse_missing(name, frame)
    if len(frame.columns) == 1 and _holds_arrays(frame.iloc[:, 0]):
        return _stacked(name, frame.iloc[:, 0]), ()
    texts = _texts(name, frame)
    pandas = load_extra("pandas", "data", "A table")
    if wanted:
        known = _categories(texts, wanted)
        frame = frame.assign(**{column: _known_texts(name, frame[column], known[column]) for column in texts})
    numbers = pandas.get_dummies(frame, columns=texts, dtype="float32").rename(columns=str)
    if wanted:
        numbers = _in_order(name, numbers, wanted)
    values = torch.from_numpy(numbers.to_numpy(np.float32, copy=True))
    finite = torch.isfinite(values).all(0)
    if not bool(finite.all()):
        column = numbers.columns[int((~finite).nonzero()[0])]
        raise DataError(f"Data set {name}: the column {column} holds infinite values; replace them.")
    return values.contiguous(), tuple(numbers.columns)


def _texts(name: str, frame: "pandas.DataFrame") -> list[str]:
    """The columns of texts; the others have to hold numbers."""
    # Taking a column out of a table costs more than all else here, and a table may have 100,000 columns of numbers.
    others = [column for column, dtype in zip(frame.columns, frame.dtypes, strict=True) if dtype.kind not in "biuf"]
    for column in others:
        if not is_text(frame[column]):
            raise DataError(_refusal(name, frame[column]))
        _check_categories(name, frame[column])
    return others


def _in_order(name: str, numbers: "pandas.DataFrame", wanted: Sequence[str]) -> "pandas.DataFrame":
    """The features in the order of the wanted ones."""
    missing = [one for one in wanted if one not in numbers]
    known = set(wanted)
    unknown = [one for one in numbers if one not in known]
    if missing or unknown:
        what = f"lacks the column {missing[0]}" if missing else f"has a column {unknown[0]}"
        raise DataError(_other_columns(name, what))
    return numbers[list(wanted)]


def _other_columns(name: str, what: str) -> str:
    return f"Data set {name} {what}, unlike the data of the run; give it the same columns."


def _categories(texts: Sequence[str], wanted: Sequence[str]) -> dict[str, list[str]]:
    """The categories that the wanted features, such as `column_category`, have of each column of texts."""
    known: dict[str, list[str]] = {column: [] for column in texts}
    for one in wanted:
        for place, letter in enumerate(one):
            if letter == "_" and one[:place] in known:
                known[one[:place]].append(one[place + 1 :])
    return known


def _known_texts(name: str, column: "pandas.Series", known: list[str]) -> "pandas.Categorical":
    """A column of texts with the categories that are known of it."""
    if not known:
        raise DataError(_other_columns(name, f"has a column {column.name} of texts"))
    unknown = sorted(set(column.astype(str)) - set(known))
    if unknown:
        raise DataError(
            f"Data set {name}: the column {column.name} holds {unknown[0]!r}, which the data of the run did not; leave "
            "these rows out."
        )
    return load_extra("pandas", "data", "A table").Categorical(column.astype(str), categories=known)


def _check_categories(name: str, column: "pandas.Series") -> None:
    if all(str(text).lower().endswith(IMAGE_FILES) for text in column.head(_LOOKED_AT)):
        raise DataError(
            f"Data set {name}: the column {column.name} names image files, which redwood reads from folders alone; put "
            "them in CLASS/file, or TASK/CLASS/file, and name the folder by --dataset."
        )
    values = column.nunique()
    if values > MOST_CATEGORIES:
        raise DataError(
            f"Data set {name}: the column {column.name} holds {values} different texts; up to {MOST_CATEGORIES} become "
            "features (one 0/1 column for each), so make numbers of them or drop it; name dates by --time_column."
        )


def _holds_arrays(column: "pandas.Series") -> bool:
    return isinstance(column.iloc[0], np.ndarray | list | tuple)


def _stacked(name: str, column: "pandas.Series") -> Tensor:
    """Samples of a column whose cells are arrays of one shape; floats become float32."""
    try:
        array = np.stack([_plain(cell) for cell in column])
    except (ValueError, TypeError) as error:
        raise DataError(
            f"Data set {name}: the arrays of the column {column.name} are not of one shape ({reason_of(error)}); make "
            "them alike."
        ) from error
    if array.dtype.kind not in "biuf":
        raise DataError(f"Data set {name}: the arrays of the column {column.name} hold {array.dtype}, not numbers.")
    return torch.from_numpy(array.astype(np.float32) if array.dtype.kind in "bf" else array)


def _plain(cell: object) -> np.ndarray:
    """An array of numbers; nested arrays come from files as arrays of arrays."""
    array = np.asarray(cell)
    return np.stack([_plain(part) for part in array]) if array.dtype == object else array


def _refusal(name: str, column: "pandas.Series") -> str:
    if column.dtype.kind == "M":
        return (
            f"Data set {name}: the column {column.name} holds dates, which are no features; name it by --time_column, "
            "or drop it."
        )
    found = type(column.iloc[0]).__name__ if column.dtype == object else column.dtype
    return f"Data set {name}: the column {column.name} holds {found}, neither numbers nor texts; convert it or drop it."
