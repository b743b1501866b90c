"""Read the target, task, time and slice of each row of a table, and choose the test rows."""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from redwood.core.calls import in_python
from redwood.core.errors import DataError
from redwood.core.extras import load_extra
from redwood.settings.data.arrays import FEW_CLASSES, Samples, times_of
from redwood.settings.data.columns import PERIODS, Columns
from redwood.settings.data.dataset import Dataset, task_order
from redwood.settings.data.holdout import hold_out_rows
from redwood.settings.data.slices import coded_slices

if TYPE_CHECKING:
    import pandas

_MOST_COLUMNS, _MOST_ROWS = 12, 5  # in one message
# Writes a table without the rows that lack values.
_COMPLETE = "python -c \"import pandas; pandas.read_csv('OLD.csv').dropna().to_csv('NEW.csv', index=False)\""


@dataclass(frozen=True, eq=False)
class Rows:
    """The data of N rows except their samples.

    Attributes:
        y: Classes (N,), int64, or numbers (N,), float32.
        class_names: Name of each class; empty where they are 0..K-1 themselves, and for numbers.
        tasks: Task of each row (N,), or None.
        task_names: Name of each task.
        time: Time of each row (N,), float64, or None.
        slices: Slice of each row (N,), or None.
        is_test: Mask of the test rows (N,), bool.
    """

    y: Tensor
    class_names: tuple[str, ...]
    tasks: Tensor | None
    task_names: tuple[str, ...]
    time: Tensor | None
    slices: np.ndarray | None
    is_test: Tensor

    @property
    def follow_time(self) -> bool:
        """True if each task ends before the next one begins."""
        if self.tasks is None or self.time is None:
            return False
        return bool((self.tasks[torch.argsort(self.time, stable=True)].diff() >= 0).all())


def read_rows(name: str, frame: "pandas.DataFrame", target: str, columns: Columns, seed: int, *, n_test: int) -> Rows:
    """Read the columns of a table that are no features.

    Args:
        name: The data set, for messages.
        frame: A pandas DataFrame with these columns.
        target: The column to predict.
        columns: The other columns.
        seed: Draws the test rows if none are given.
        n_test: Number of test rows, which are the last rows. 0: about one fifth is drawn. Where order matters (numbers
            to predict, or `--time_column`), the test rows lie all along the rows.

    Raises:
        DataError: If a column has missing values or another type, or a task has no row for training or test.
        InvalidOptionError: If the period does not fit the times.
    """
    y, class_names = _target(name, frame[target])
    time = _times(name, frame, columns) if columns.time else None
    tasks, task_names = tasks_of(name, frame, columns, time)
    slices = _slices(name, frame[columns.slices]) if columns.slices else None
    if n_test:
        is_test = np.arange(len(frame)) >= len(frame) - n_test
    else:
        none, along = torch.zeros(len(frame), dtype=torch.long), None
        if time is not None or y.dtype != torch.int64:
            along = np.arange(len(frame)) if time is None else np.argsort(time.numpy(), kind="stable")
        classes, parts = y if y.dtype == torch.int64 else none, none if tasks is None else tasks
        is_test = hold_out_rows(name, classes.numpy(), parts.numpy(), along, seed)
    rows = Rows(y, class_names, tasks, task_names, time, slices, torch.from_numpy(is_test))
    _check_classes(name, rows)
    _check_tasks(name, rows, drawn=not n_test)
    return rows


def dataset_of_rows(
    name: str, rows: Rows, take: Callable[[Tensor], Samples], feature_names: tuple[str, ...] = ()
) -> Dataset:
    """The data set of some rows.

    Args:
        name: Its name in results.
        rows: The data of the rows.
        take: Returns the samples of given rows (n,).
        feature_names: Name of each feature (D,), if the samples are vectors of features.
    """
    train, test = ((~rows.is_test).nonzero().flatten(), rows.is_test.nonzero().flatten())
    given = (None, None) if rows.slices is None else (rows.slices[train.numpy()], rows.slices[test.numpy()])
    slices, slices_test, slice_names = coded_slices(name, *given)
    x, x_test = take(train), take(test)
    max_value = None
    if not x.dtype.is_floating_point:
        max_value = float(max(1, int(x.max()))) if isinstance(x, Tensor) and x.dtype != torch.uint8 else 255.0
    return Dataset(
        name=name,
        x=x,
        y=rows.y[train],
        x_test=x_test,
        y_test=rows.y[test],
        contexts=None if rows.tasks is None else rows.tasks[train],
        contexts_test=None if rows.tasks is None else rows.tasks[test],
        max_value=max_value,
        time=None if rows.time is None else rows.time[train],
        time_test=None if rows.time is None else rows.time[test],
        ordered=rows.time is not None,
        slices=slices,
        slices_test=slices_test,
        slice_names=slice_names,
        class_names=rows.class_names,
        task_names=rows.task_names,
        feature_names=feature_names,
        tasks_follow_time=rows.follow_time,
        compare_all=True,
    )


def is_text(column: "pandas.Series") -> bool:
    """True if a column of a table holds texts."""
    pandas = _pandas()
    return bool(pandas.api.types.is_string_dtype(column) or isinstance(column.dtype, pandas.CategoricalDtype))


def refuse_missing(name: str, columns: "pandas.DataFrame | pandas.Series") -> None:
    """Raise `DataError`, which names the columns and the first rows, if rows of a table lack values."""
    lacking = columns.isna() if columns.ndim == 2 else columns.isna().to_frame(columns.name)
    counts = lacking.sum()
    counts = counts[counts > 0]
    if not len(counts):
        return
    rows = lacking.any(axis=1).to_numpy().nonzero()[0].tolist()
    first = ", ".join(map(str, rows[:_MOST_ROWS])) + (", ..." if len(rows) > _MOST_ROWS else "")
    which = f"the column {counts.index[0]} has"
    if len(counts) > 1:
        shown = [f"{column} ({count})" for column, count in counts[:_MOST_COLUMNS].items()]
        which = f"the columns {', '.join(shown)}{', ...' * (len(counts) > _MOST_COLUMNS)} have"
    remedy = "DataFrame.fillna or dropna" if in_python() else _COMPLETE
    raise DataError(
        f"Data set {name}: {which} no value in {len(rows)} of {len(lacking)} rows (counted from 0: {first}); fill them "
        f"or leave these rows out ({remedy})."
    )


def coded_classes(name: str, column: "pandas.Series", what: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Number the values of a column 0..K-1 in their order.

    Args:
        name: The data set, for messages.
        column: A pandas Series of integers, truth values, texts or a category.
        what: Name of the values, for messages, such as "tasks".

    Returns:
        The number of each row (N,), int64, and the name of each number.

    Raises:
        DataError: If values are missing or of another type.
    """
    refuse_missing(name, column)
    if isinstance(column.dtype, _pandas().CategoricalDtype):
        column = column.cat.remove_unused_categories()
        return column.cat.codes.to_numpy(np.int64), tuple(map(str, column.cat.categories))
    if is_text(column):
        column = column.astype(str)
    elif column.dtype.kind not in "biu":
        raise DataError(
            f"Data set {name}: the {what} of the column {column.name} are integers or texts, but it holds "
            f"{column.dtype}; convert it, or name another column."
        )
    values, codes = np.unique(column.to_numpy(), return_inverse=True)
    return codes.astype(np.int64), tuple(map(str, values))


def _target(name: str, column: "pandas.Series") -> tuple[Tensor, tuple[str, ...]]:
    if column.dtype.kind == "f":
        refuse_missing(name, column)
        return torch.from_numpy(column.to_numpy(np.float32)), ()
    codes, class_names = coded_classes(name, column, "classes (or floats to predict)")
    if len(class_names) > max(FEW_CLASSES, len(codes) // 2):
        raise DataError(
            f"Data set {name}: the column {column.name} has {len(class_names)} different values in {len(codes)} rows, "
            "too many to be classes; write numbers to predict as floats (1.0), or name another --target_column."
        )
    plain = column.dtype.kind in "iu" and class_names == tuple(map(str, range(len(class_names))))
    return torch.from_numpy(codes), () if plain else class_names


def _times(name: str, frame: "pandas.DataFrame", columns: Columns) -> Tensor:
    column = frame[columns.time]
    refuse_missing(name, column)
    if column.dtype.kind not in "biuf":
        column = _dates(name, column)
    elif columns.period:
        raise DataError(
            f"Data set {name}: --period {columns.period} needs dates, but the column {columns.time} holds numbers; use "
            f"--task_column {columns.time} for one task per number, or write dates such as 2024-03-31."
        )
    return times_of(name, column.to_numpy())


def _dates(name: str, column: "pandas.Series") -> "pandas.Series":
    """A column of dates, or of texts such as 2024-03-31, in UTC."""
    try:
        dates = _pandas().to_datetime(column, format="ISO8601", utc=True)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"Data set {name}: the column {column.name} holds {column.iloc[0]!r} and the like, which are not all dates "
            "such as 2024-03-31; convert them by pandas.to_datetime, or give numbers."
        ) from error
    return dates.dt.tz_localize(None)


def tasks_of(
    name: str, frame: "pandas.DataFrame", columns: Columns, time: Tensor | None = None
) -> tuple[Tensor | None, tuple[str, ...]]:
    """The task of each row (N,) or None, and the names of the tasks in their order: of times (N,), if these are given.

    Raises:
        DataError: If a value is missing, or is no date where a period makes the tasks.
    """
    if columns.period:
        periods = _dates(name, frame[columns.time]).dt.to_period(PERIODS[columns.period])
        codes, values = _pandas().factorize(periods, sort=True)
        names = tuple(str(value.start_time.date() if columns.period == "week" else value) for value in values)
        return torch.from_numpy(codes.astype(np.int64)), names
    if not columns.task:
        return None, ()
    column = frame[columns.task]
    codes, names = coded_classes(name, column, "tasks")
    order = list(range(len(names)))
    if time is not None:  # in the order in which they begin
        order = np.argsort([time.numpy()[codes == code].min() for code in order], kind="stable").tolist()
    elif is_text(column) and column.dtype != "category":  # a category has an order of its own
        order = sorted(order, key=lambda code: task_order(names[code]))
    return torch.from_numpy(np.argsort(order)[codes]), tuple(names[code] for code in order)


def _slices(name: str, column: "pandas.Series") -> np.ndarray:
    refuse_missing(name, column)
    return np.asarray(column.astype(str) if is_text(column) else column)


def _check_classes(name: str, rows: Rows) -> None:
    if rows.y.dtype != torch.int64:
        return
    trained = torch.zeros(int(rows.y.max()) + 1, dtype=torch.bool)
    trained[rows.y[~rows.is_test]] = True
    if not bool(trained.all()):
        label = int((~trained).nonzero()[0])
        shown = rows.class_names[label] if rows.class_names else label
        raise DataError(f"Data set {name}: no training row is of the class {shown}; leave it out of the test rows.")


def _check_tasks(name: str, rows: Rows, *, drawn: bool) -> None:
    if rows.tasks is None:
        return
    for number, task in enumerate(rows.task_names):
        is_test = rows.is_test[rows.tasks == number]
        missing = "test" if not bool(is_test.any()) else "training" if bool(is_test.all()) else None
        if missing is not None:
            remedy = "choose longer periods or fewer tasks" if drawn else "leave its rows out"
            raise DataError(
                f"Data set {name}: the task {task} has {len(is_test)} row(s), none of which is a {missing} sample; "
                f"{remedy}."
            )


def _pandas() -> ModuleType:
    return load_extra("pandas", "data", "A table")
