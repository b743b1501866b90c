"""The tasks of a supervised stream, and the option `stream`, which makes them from the data."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from redwood.core.errors import DataError
from redwood.core.parts import Kind, Part
from redwood.settings.data.dataset import Dataset
from redwood.settings.data.transforms import Transform


@dataclass(frozen=True, eq=False)
class SupervisedTask:
    """One task of a supervised stream.

    Attributes:
        rows: Its training rows of the data set (n,).
        rows_test: Its test rows (m,).
        label_map: The label in this task for each label of the data set (K,) or (L,); unused for regression.
        transform: The transform of its samples; None leaves them unchanged.
    """

    rows: Tensor
    rows_test: Tensor
    label_map: Tensor
    transform: Transform | None = None


# The tasks in the order of the stream, and the number of outputs: one for each label of all tasks. For regression,
# where tasks share their outputs: the numbers to predict.
Tasks = tuple[list[SupervisedTask], int]


@dataclass(frozen=True)
class Cut:
    """The values that decide the tasks beside the options of a stream.

    Attributes:
        num_tasks: Number of tasks; None: as many as the stream has otherwise.
        shared_outputs: Whether all tasks share their outputs.
        seed: Seed of all random choices.
        first: Number of the first task. For a run that extends another, it is the number of tasks of that run.
        kept: Training samples of the data set (N,), bool, that tasks take; None: all.
    """

    num_tasks: int | None
    shared_outputs: bool
    seed: int
    first: int = 0
    kept: Tensor | None = None


@dataclass
class StreamPart(Part):
    """The source of the tasks."""

    splits_classes: ClassVar[bool] = False  # whether each task has some of the classes
    transforms: ClassVar[bool] = False  # whether each task has all samples, transformed in a way of its own
    takes_tasks: ClassVar[bool] = False  # whether it may take the tasks that the data names
    joins: ClassVar[bool] = False  # whether it joins several data sets

    @abstractmethod
    def tasks(self, data: Dataset, cut: Cut) -> Tasks:
        """Cut a data set into tasks.

        Raises:
            InvalidOptionError: If an option is out of range for this data set.
        """

    def for_data(self, data: Dataset) -> "StreamPart":
        """Return the stream that cuts this data set: this one, unless it chooses another by the data."""
        return self

    def kept_samples(self, data: Dataset, seed: int) -> Tensor | None:
        """Training samples of a data set (N,), bool, that tasks take; None: all."""
        return None

    def names(self, data: Dataset, tasks: Sequence[SupervisedTask]) -> tuple[str, ...]:
        """The name of each task; empty where there are none."""
        return ()

    def follows_time(self, data: Dataset) -> bool:
        """True if tasks follow each other in the order of the samples."""
        return False

    @property
    def sets_number(self) -> bool:
        """True if the number of tasks follows from its options or from the data."""
        return False

    def part_of_run(self, data: Dataset, n_tasks: int, wanted: int | None) -> range:
        """The tasks of a run, out of all `n_tasks`; `wanted` is the option `nb_tasks`."""
        return range(n_tasks)


STREAMS = Kind("stream", StreamPart, "redwood.streams")


def make_tasks(data: Dataset, stream: StreamPart, cut: Cut) -> Tasks:
    """Cut a data set into tasks, and check that no task is empty.

    Raises:
        InvalidOptionError: If an option is out of range for this data set.
        DataError: If a task would be empty.
    """
    kept = stream.kept_samples(data, cut.seed)
    tasks, n_outputs = stream.tasks(data, replace(cut, kept=kept))
    if kept is not None:
        tasks = [replace(task, rows=task.rows[kept[task.rows]]) for task in tasks]
    for number, task in enumerate(tasks):
        if len(task.rows) == 0 or len(task.rows_test) == 0:
            split = "training" if len(task.rows) == 0 else "test"
            raise DataError(
                f"Task {number} of {data.name} has no {split} samples; use fewer tasks (--nb_tasks) or more data."
            )
        if data.is_multi_label and not bool(data.y_test[task.rows_test].any()):
            raise DataError(
                f"Task {number} of {data.name} has no test sample with a label, so that nothing can be scored; use "
                "fewer tasks (--nb_tasks) or more data."
            )
    return tasks, n_outputs
