"""The columns of a table that are no features: the target, the task, the time and the slice of each row."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from redwood.core.calls import in_python
from redwood.core.errors import DataError, InvalidOptionError

# Period of `--period` -> its name in pandas.
PERIODS = {"year": "Y", "quarter": "Q", "month": "M", "week": "W", "day": "D", "hour": "h"}
USUAL_TARGETS = ("target", "label", "y")


@dataclass(frozen=True)
class Columns:
    """Names of columns; an empty one is not given.

    Attributes:
        target: Classes or numbers to predict (default: the one of `USUAL_TARGETS` that there is).
        task: The task of each row.
        time: When each row was taken: dates or numbers.
        period: One of `PERIODS`: each makes a task of the rows whose time lies in it.
        slices: The slice of each row, whose scores are reported apart.
        features: Names of the features that the samples have to have, in this order (default: any).
    """

    target: str = ""
    task: str = ""
    time: str = ""
    period: str = ""
    slices: str = ""
    features: tuple[str, ...] = ()

    def refuse(self, source: str) -> None:
        """Refuse options for columns where a source has none.

        Args:
            source: The value of `--dataset`.

        Raises:
            InvalidOptionError: If one is given.
        """
        given = {
            "--target_column": self.target,
            "--task_column": self.task,
            "--time_column": self.time,
            "--period": self.period,
        }
        for option, value in given.items():
            if value:
                raise InvalidOptionError(
                    f"{option} {value} names a column, but --dataset {source} has none; leave it out, or give a table "
                    "(.csv, .parquet, a DataFrame) or a data set of Hugging Face."
                )
        if self.slices:
            raise InvalidOptionError(
                f"--slices {self.slices} names a column of a data file, but --dataset {source} is none; give an .npz, "
                ".h5, .hdf5, .csv or .parquet file, or leave it out for slices by class."
            )

    def find_target(self, name: str, present: Collection[str]) -> str:
        """The column to predict.

        Args:
            name: The data set, for messages.
            present: All its columns.

        Raises:
            DataError: If it is not given, and none or several of `USUAL_TARGETS` are present.
            InvalidOptionError: If the given one is not present.
        """
        if self.target:
            self.check_present(name, "target_column", self.target, present)
            return self.target
        found = [column for column in USUAL_TARGETS if column in present]
        if len(found) != 1:
            what = f"has the columns {' and '.join(found)}" if found else f"has only the columns {_shown(present)}"
            option = "target_column=..." if in_python() else "--target_column"
            raise DataError(f"Data set {name} {what}; name the one to predict by {option}.")
        return found[0]

    def refuse_twice(self, name: str, present: Sequence[str]) -> None:
        """Refuse a table with several columns of one of the names: the second target would be a feature.

        Args:
            name: The data set, for messages.
            present: The names of all its columns as they are written.

        Raises:
            DataError: If there are several.
        """
        for column in (self.target, self.task, self.time, self.slices, *(() if self.target else USUAL_TARGETS)):
            if column and present.count(column) > 1:
                raise DataError(f"Data set {name}: the table has several columns named {column}; rename them.")

    def check_others(self, name: str, target: str, present: Collection[str]) -> None:
        """Check that the columns are present, and that the target has no other use than to group scores.

        Raises:
            InvalidOptionError: If not.
        """
        uses = {"target_column": target, "task_column": self.task, "time_column": self.time, "slices": self.slices}
        for option, column in uses.items():
            if column:
                self.check_present(name, option, column, present)
        for option, column in (("task_column", self.task), ("time_column", self.time)):
            if column == target:
                raise InvalidOptionError(
                    f"--{option} {column} is the column to predict in {name}; name another column, or another "
                    "--target_column."
                )

    @staticmethod
    def check_present(name: str, option: str, column: str, present: Collection[str]) -> None:
        """Raise `InvalidOptionError` unless a data set has a column."""
        if column not in present:
            raise InvalidOptionError(
                f"--{option} {column} is no column of {name}, which has {_shown(present)}; name one of them."
            )


NO_COLUMNS = Columns()


def _shown(present: Collection[str]) -> str:
    names = [repr(column) for column in list(present)[:12]]
    return ", ".join(names) + (", ..." if len(present) > 12 else "") if names else "no column"
