"""The tasks of a run: cut out of its data, and behind those of an earlier run that it extends."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from redwood.core.user_warnings import warn
from redwood.settings.data.arrays import check_range
from redwood.settings.data.classes import Classes, agreed
from redwood.settings.data.dataset import Dataset
from redwood.settings.streams.extended import Earlier, join
from redwood.settings.streams.tasks import Cut, StreamPart, SupervisedTask, make_tasks


@dataclass(frozen=True, eq=False)
class RunTasks:
    """The tasks of a stream, and those of a run among them.

    Attributes:
        data: The samples of all tasks.
        tasks: All tasks of the stream.
        n_outputs: Number of outputs.
        classes: The classes that these stand for.
        names: Name of each task of the run; empty where they have none.
        part: Numbers of the run's tasks.
        first_trained: The first task to train: earlier ones are tested only, or not even that if their data is gone.
    """

    data: Dataset
    tasks: Sequence[SupervisedTask]
    n_outputs: int
    classes: Classes
    names: tuple[str, ...]
    part: range
    first_trained: int


def cut_run(data: Dataset, stream: StreamPart, cut: Cut, earlier: Earlier | None) -> RunTasks:
    """Cut a data set into the tasks of a run.

    Args:
        data: The samples.
        stream: The stream that cuts them.
        cut: The values that decide the tasks beside its options.
        earlier: The run whose tasks come before those of `data`; None: there is none.

    Raises:
        InvalidOptionError: If an option does not fit the data.
        DataError: If a task would be empty, or the data does not fit that of the earlier run.
    """
    if earlier is None:
        check_range(data.name, data.x, data.max_value)
    tasks, n_outputs = make_tasks(data, stream, cut)
    names = stream.names(data, tasks)
    if earlier is None:
        part = stream.part_of_run(data, len(tasks), cut.num_tasks)
        return RunTasks(data, tasks, n_outputs, classes_of(data, tasks, n_outputs), names, part, part.start)
    joined = join(earlier, data, tasks, n_outputs, shared=cut.shared_outputs, stream=stream)
    total, first = len(joined.tasks), earlier.num_tasks
    if len(tasks) == 1 and earlier.name_of_further(data):
        names = (earlier.name_of_further(data),)
    if earlier.known is not None:
        first, names = 0, earlier.known.with_names(names, total)
    n_outputs = len(joined.classes.outputs) or n_outputs
    return RunTasks(joined.data, joined.tasks, n_outputs, joined.classes, names, range(first, total), earlier.num_tasks)


def warn_of_tasks(run: RunTasks, *, told: bool) -> None:
    """Warn of tasks that hardly are what a user wants.

    Every answer may be right whatever was learned, as a task at test leaves one class to choose from. Or all tasks have
    the same classes, so that none of them has outputs of its own, though the task is told at test.

    Args:
        run: The tasks of a run.
        told: Whether a method is told the task at test.
    """
    if run.data.kind != "classes" or (run.n_outputs > 1 and not told):
        return
    own = [run.tasks[number].label_map[run.data.y[run.tasks[number].rows]].unique().tolist() for number in run.part]
    if run.data.n_classes == 1:
        warn(
            f"The data {run.data.name} has one class, so that every answer is right and the scores say nothing; add "
            "samples of other classes."
        )
    elif all(len(outputs) == 1 for outputs in own):
        warn(
            f"Each task of {run.data.name} has one class to choose from, so that every answer is right and the scores "
            "say nothing; cut fewer tasks by --nb_tasks, give the task of each sample (t), or choose "
            "class_incremental."
        )
    elif len(own) > 1 and all(outputs == own[0] for outputs in own):
        warn(
            f"All {len(own)} tasks of {run.data.name} have the same {len(own[0])} classes, so that they share their "
            "outputs, though the task is told at test; if each task has classes of its own, give them labels of their "
            f"own, such as y + {len(own[0])} * t, else choose domain_incremental."
        )


def classes_of(data: Dataset, tasks: Sequence[SupervisedTask], n_outputs: int) -> Classes:
    """The classes that the outputs of some tasks stand for."""
    if data.is_regression:
        return Classes()
    called = data.called
    outputs: list[dict[str, None]] = [{} for _ in range(n_outputs)]  # a dict keeps the order, and each name once
    of_tasks = []
    for task in tasks:
        y = data.y[task.rows]
        present = y.any(0) if data.is_multi_label else torch.bincount(y) > 0
        own = present.nonzero().flatten().tolist()
        for label in own:
            outputs[int(task.label_map[label])][called[label]] = None
        of_tasks.append(tuple(called[label] for label in own))
    # Of data sets that were joined, each counts its labels from 0.
    by_label = agreed(*of_tasks) if data.class_numbers else called
    return Classes(tuple(map(tuple, outputs)), by_label, bool(data.class_names))
