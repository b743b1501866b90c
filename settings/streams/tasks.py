"""Cut a data set into tasks: by class, permutation, rotation, instance or order, or by the task ids of the data."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

import torch
from torch import Tensor

from redwood.core.errors import DataError, InvalidOptionError
from redwood.core.seeding import derive_seed, generator
from redwood.core.workers import split_evenly
from redwood.settings.data.dataset import Dataset, are_numbers
from redwood.settings.data.transforms import Transform, rotation_by, transform_of_task


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


@dataclass(frozen=True)
class TaskOptions:
    """The options of `make_tasks`; see `SupervisedSetting` for the meaning of each."""

    stream: str
    num_tasks: int | None
    increment: Sequence[int]
    class_order: Sequence[int]
    shared_outputs: bool
    seed: int
    angles: Sequence[float] = ()
    kept: Tensor | None = None  # training samples of the data set (N,), bool, that tasks take; None: all
    first: int = 0  # number of the first task, in the whole stream
    class_order_seed: int | None = None


def make_tasks(data: Dataset, options: TaskOptions) -> tuple[list[SupervisedTask], int]:
    """Cut `data` into tasks.

    Returns:
        The tasks in the order of the stream, and the number of outputs: one for each label of all tasks. For
        regression, where tasks share their outputs: the numbers to predict.

    Raises:
        InvalidOptionError: If an option is out of range for this data set, or has no effect on this stream.
        DataError: If a task would be empty.
    """
    makers = {
        "class_split": _class_split,
        "permuted": _transformed,
        "rotated": _transformed,
        "instance": _instances,
        "ordered": _ordered,
        "contexts": _contexts,
        "tasks": _task_list,
        "slices": _slices,
    }
    if data.is_regression and options.stream == "class_split":
        raise InvalidOptionError(
            f"--stream class_split splits classes, but the targets of {data.name} are numbers; "
            "use --stream ordered, instance, permuted, rotated or contexts."
        )
    if data.is_multi_label and options.stream == "class_split":
        raise InvalidOptionError(
            f"--stream class_split splits classes, but a sample of {data.name} may have labels of several parts; "
            "use --stream ordered, instance, permuted, rotated or contexts."
        )
    if options.stream != "class_split":
        _refuse_split(options)
    if options.stream != "rotated" and options.angles:
        raise InvalidOptionError(f"--angles rotates images, but --stream {options.stream} does not; leave it out.")
    tasks, n_outputs = makers[options.stream](data, options)
    if options.kept is not None:
        tasks = [replace(task, rows=task.rows[options.kept[task.rows]]) for task in tasks]
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


def _refuse_split(options: TaskOptions) -> None:
    """Raise `InvalidOptionError` for an option that splits classes."""
    for name in ("increment", "class_order", "class_order_seed"):
        if getattr(options, name) not in ([], (), None):
            remedy = "it (or --class_orders)" if name == "class_order_seed" else "it"
            raise InvalidOptionError(
                f"--{name} splits classes, but --stream {options.stream} does not; leave {remedy} out."
            )


def names_of_tasks(data: Dataset, tasks: Sequence[SupervisedTask], stream: str) -> tuple[str, ...]:
    """The name of each task: that of the data, or the names of its classes; empty where there are none."""
    if stream == "contexts":
        return data.task_names
    if stream != "class_split" or not data.class_names:
        return ()
    return tuple(
        ", ".join(data.class_names[label] for label in torch.unique(data.y[task.rows]).tolist()) for task in tasks
    )


def length_of_part(name: str, total: int, first: int, wanted: int | None) -> int:
    """Number of tasks of a run that begins with task `first` of the `total` tasks of a stream.

    Args:
        name: The stream, for messages.
        total: Number of all tasks.
        first: The first task of the run, from 0.
        wanted: The option `nb_tasks`; None: all that are left.

    Raises:
        InvalidOptionError: If there are not so many.
    """
    if first >= total:
        raise InvalidOptionError(
            f"--first_task {first} is none of the {total} tasks of {name}, which count from 0; use at most {total - 1}."
        )
    if wanted is not None and first + wanted > total:
        raise InvalidOptionError(
            f"--nb_tasks {wanted} is more than the {total - first} tasks of {name} that are left from task {first} on; "
            "use fewer."
        )
    return total - first if wanted is None else wanted


def class_groups(
    n_classes: int, num_tasks: int | None, increment: Sequence[int], class_order: Sequence[int], seed: int
) -> list[list[int]]:
    """The classes of each task.

    Args:
        n_classes: Number of classes K.
        num_tasks: Number of tasks. Group sizes differ by at most one; larger groups come first.
        increment: Classes per task, instead of `num_tasks`: one number (the last task takes the rest), or one per task.
        class_order: Order of the classes, a permutation of 0..K-1; empty: drawn from `seed`.
        seed: Seed of the class order.

    Raises:
        InvalidOptionError: If the numbers do not fit together.

    Examples:
        >>> class_groups(5, 2, [], [4, 3, 2, 1, 0], seed=0)
        [[4, 3, 2], [1, 0]]
    """
    order = list(class_order) or torch.randperm(n_classes, generator=generator(seed, "class order")).tolist()
    if sorted(order) != list(range(n_classes)):
        raise InvalidOptionError(
            f"--class_order {' '.join(map(str, class_order))} has to name each class 0..{n_classes - 1} once."
        )
    sizes = _group_sizes(n_classes, num_tasks, list(increment))
    groups, start = [], 0
    for size in sizes:
        groups.append(order[start : start + size])
        start += size
    return groups


def _group_sizes(n_classes: int, num_tasks: int | None, increment: list[int]) -> list[int]:
    if not increment:
        count = min(5, n_classes) if num_tasks is None else num_tasks
        if count > n_classes:
            raise InvalidOptionError(
                f"--nb_tasks {count} is more than the {n_classes} classes that the tasks share; "
                f"use at most {n_classes}."
            )
        return [n_classes // count + (number < n_classes % count) for number in range(count)]
    if min(increment) < 1 or (len(increment) == 1 and increment[0] > n_classes):
        raise InvalidOptionError(f"--increment {increment[0]} has to be between 1 and the {n_classes} classes.")
    if len(increment) == 1:
        full, rest = divmod(n_classes, increment[0])
        sizes = [increment[0]] * full + [rest] * (rest > 0)
    else:
        sizes = increment
        if sum(sizes) != n_classes:
            raise InvalidOptionError(
                f"--increment {' '.join(map(str, sizes))} adds up to {sum(sizes)}, "
                f"but the data set has {n_classes} classes."
            )
    if num_tasks is not None and num_tasks != len(sizes):
        raise InvalidOptionError(
            f"--nb_tasks {num_tasks} contradicts --increment, which makes {len(sizes)} tasks of {n_classes} classes; "
            "give one of the two."
        )
    return sizes


def _class_split(data: Dataset, options: TaskOptions) -> tuple[list[SupervisedTask], int]:
    seed = options.seed if options.class_order_seed is None else options.class_order_seed
    groups = class_groups(data.n_classes, options.num_tasks, options.increment, options.class_order, seed)
    tasks = []
    for group in groups:
        label_map = torch.arange(data.n_classes)
        if options.shared_outputs:
            # The label is the position of the class in the group of its task (van de Ven & Tolias, 2019).
            label_map = torch.zeros(data.n_classes, dtype=torch.long)
            label_map[torch.tensor(group)] = torch.arange(len(group))
        members = torch.tensor(group)
        rows, rows_test = (torch.isin(y, members).nonzero().flatten() for y in (data.y, data.y_test))
        tasks.append(SupervisedTask(rows, rows_test, label_map))
    n_outputs = max(map(len, groups)) if options.shared_outputs else data.n_classes
    return tasks, n_outputs


def _transformed(data: Dataset, options: TaskOptions) -> tuple[list[SupervisedTask], int]:
    angles = _checked_angles(options)
    num_tasks, n_outputs = len(angles) or _count(options), data.n_outputs
    shared = options.shared_outputs or data.is_regression
    everything = torch.arange(len(data.y)), torch.arange(len(data.y_test))
    tasks = []
    for number in range(num_tasks):
        offset = 0 if shared else number * n_outputs
        if angles:
            transform = rotation_by(data.sample_shape, angles[number])
        else:
            transform = transform_of_task(options.stream, options.first + number, data.sample_shape, options.seed)
        tasks.append(SupervisedTask(*everything, torch.arange(n_outputs) + offset, transform))
    return tasks, n_outputs if shared else n_outputs * num_tasks


def _checked_angles(options: TaskOptions) -> Sequence[float]:
    angles, given = options.angles, " ".join(f"{angle:g}" for angle in options.angles)
    if not all(map(math.isfinite, angles)):
        raise InvalidOptionError(f"--angles {given} has to hold finite numbers of degrees.")
    if len({angle % 360 for angle in angles}) < len(angles):
        raise InvalidOptionError(f"--angles {given} names an angle twice; each task has one of its own.")
    if angles and options.num_tasks not in (None, len(angles)):
        raise InvalidOptionError(
            f"--nb_tasks {options.num_tasks} contradicts --angles, which makes {len(angles)} tasks; leave it out."
        )
    return angles


def _instances(data: Dataset, options: TaskOptions) -> tuple[list[SupervisedTask], int]:
    num_tasks = _count(options)
    label_map = torch.arange(data.n_outputs)
    parts = [
        _split_by_class(y, num_tasks, derive_seed(options.seed, "instances", split), kept)
        for split, y, kept in (("training", data.y, options.kept), ("test", data.y_test, None))
    ]
    return [SupervisedTask(rows, rows_test, label_map) for rows, rows_test in zip(*parts, strict=True)], data.n_outputs


def _split_by_class(y: Tensor, num_tasks: int, seed: int, kept: Tensor | None = None) -> list[Tensor]:
    """Divide the kept rows among `num_tasks` tasks: each gets an equal share of every class, if there are classes."""
    shuffled = torch.randperm(len(y), generator=generator(seed))
    if kept is not None:
        shuffled = shuffled[kept[shuffled]]
    by_class = shuffled if y.dtype != torch.int64 else shuffled[torch.argsort(y[shuffled], stable=True)]
    return [by_class[number::num_tasks].sort().values for number in range(num_tasks)]


def _ordered(data: Dataset, options: TaskOptions) -> tuple[list[SupervisedTask], int]:
    num_tasks = _count(options)
    label_map = torch.arange(data.n_outputs)
    parts = _consecutive(_by_time(data.time, len(data.y)), num_tasks)
    if data.time is None or data.time_test is None:
        parts_test = _consecutive(torch.arange(len(data.y_test)), num_tasks)
    else:
        begins = torch.stack([data.time[part[0]] for part in parts if len(part)])
        belongs_to = torch.searchsorted(begins[1:], data.time_test, right=True)
        parts_test = [(belongs_to == number).nonzero().flatten() for number in range(num_tasks)]
    return [SupervisedTask(*rows, label_map) for rows in zip(parts, parts_test, strict=True)], data.n_outputs


def _by_time(time: Tensor | None, n: int) -> Tensor:
    return torch.arange(n) if time is None else torch.argsort(time, stable=True)


def _consecutive(rows: Tensor, parts: int) -> list[Tensor]:
    """Cut rows into consecutive parts whose sizes differ by at most one."""
    return [rows[split_evenly(len(rows), part, parts)] for part in range(parts)]


def _contexts(data: Dataset, options: TaskOptions) -> tuple[list[SupervisedTask], int]:
    if data.contexts is None or data.contexts_test is None:
        raise InvalidOptionError(
            f"--stream contexts takes the tasks from the data, but {data.name} carries no task ids; "
            f"use --stream {'ordered' if data.is_regression else 'instance' if data.is_multi_label else 'class_split'}."
        )
    count = int(data.contexts.max()) + 1
    if options.num_tasks not in (None, count):
        raise InvalidOptionError(f"--nb_tasks {options.num_tasks} contradicts {data.name}, which has {count} tasks.")
    label_map = torch.arange(data.n_outputs)
    order = _by_time(data.time if data.tasks_follow_time else None, len(data.y))
    return [
        SupervisedTask(
            order[data.contexts[order] == number], (data.contexts_test == number).nonzero().flatten(), label_map
        )
        for number in range(count)
    ], data.n_outputs


def _slices(data: Dataset, options: TaskOptions) -> tuple[list[SupervisedTask], int]:
    """A task for each slice: for each group of the data's column of slices, or else for each class."""
    if data.slices is not None and data.slices_test is not None:
        splits = data.slices, data.slices_test
    else:
        splits = data.y, data.y_test
    label_map = torch.arange(data.n_outputs)
    tasks = []
    for number in range(int(splits[0].max()) + 1):
        rows, rows_test = ((split == number).nonzero().flatten() for split in splits)
        if not len(rows_test):
            raise DataError(f"The slice of class {number} of {data.name} has no test sample; add some.")
        tasks.append(SupervisedTask(rows, rows_test, label_map))
    return tasks, data.n_outputs


def _task_list(data: Dataset, options: TaskOptions) -> tuple[list[SupervisedTask], int]:
    """Tasks of the data whose labels follow each other, or which share outputs."""
    tasks, n_outputs = _contexts(data, options)
    if not options.shared_outputs:
        return tasks, n_outputs
    own = [torch.unique(data.y[task.rows]) for task in tasks]
    outputs = _shared_outputs(data, own)
    shared = []
    for task, classes, places in zip(tasks, own, outputs, strict=True):
        label_map = torch.zeros(n_outputs, dtype=torch.long)
        label_map[classes] = torch.tensor(places)
        shared.append(replace(task, label_map=label_map))
    return shared, 1 + max(map(max, outputs))


def _shared_outputs(data: Dataset, own: Sequence[Tensor]) -> list[list[int]]:
    """The output of each class of each task, whose labels are `own`.

    If every task lists its classes, those at the same place share an output. Otherwise, if any class name occurs in two
    tasks, classes share outputs by name; else, by their place within the task.
    """
    called = [[data.called[label] for label in labels.tolist()] for labels in own]
    different = {name for names in called for name in names}
    in_common = len(different) < sum(map(len, called))
    comparable = len(set(map(are_numbers, called))) == 1
    if data.class_names and comparable and in_common and not data.by_place:
        output_of = {name: output for output, name in enumerate(dict.fromkeys(chain.from_iterable(called)))}
        return [[output_of[name] for name in names] for names in called]
    return [list(range(len(names))) for names in called]


def _count(options: TaskOptions) -> int:
    return 5 if options.num_tasks is None else options.num_tasks
