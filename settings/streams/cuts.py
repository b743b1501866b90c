"""Streams that cut one data set into tasks: by class, permutation, rotation, instance or order, or by its task ids."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from redwood.core.checks import check_range
from redwood.core.errors import InvalidOptionError
from redwood.core.seeding import derive_seed, generator
from redwood.core.workers import split_evenly
from redwood.settings.data.dataset import Dataset
from redwood.settings.data.imbalance import check_imbalance, kept_samples
from redwood.settings.data.transforms import Transform, rotation_by, transform_of_task
from redwood.settings.streams.tasks import STREAMS, Cut, StreamPart, SupervisedTask, Tasks

USUAL_NUMBER = 5  # of tasks


@dataclass
class OfOneDataSet(StreamPart):
    """Tasks that are cut out of one data set."""

    imbalance: str = ""  # training samples of each class: long_tail, long_tail:RATIO or dirichlet:ALPHA (default: all)

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        check_imbalance(self.imbalance)

    @override
    def kept_samples(self, data: Dataset, seed: int) -> Tensor | None:
        if not self.imbalance:
            return None
        if data.kind != "classes":
            what = "targets are numbers" if data.is_regression else "samples have several labels"
            raise InvalidOptionError(
                f"--imbalance {self.imbalance} goes by the classes of samples, but in {data.name} {what}; leave it out."
            )
        return kept_samples(data, self.imbalance, seed)


@dataclass
class OfClasses(OfOneDataSet):
    """Tasks that may be made of classes."""

    increment: list[int] = field(default_factory=list)  # classes per task: one number, or one per task
    class_order: list[int] = field(default_factory=list)  # order in which classes come (default: drawn from the seed)
    class_order_seed: int | None = None  # seed that the order of the classes is drawn from (default: --seed)

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        if self.class_order_seed is None:
            return
        check_range(self, "class_order_seed", 0)
        if self.class_order:
            raise InvalidOptionError(
                f"--class_order_seed {self.class_order_seed} draws the order of the classes, and --class_order names "
                "it; leave one of them out."
            )


@STREAMS.register("auto")
@dataclass
class Auto(OfClasses):
    """Cut by task ids if the data has them, else by its order if that matters, else by classes or at random."""

    takes_tasks: ClassVar[bool] = True

    @override
    def for_data(self, data: Dataset) -> StreamPart:
        if data.contexts is None and not data.keeps_order and not data.is_multi_label:
            return ClassSplit(self.imbalance, self.increment, self.class_order, self.class_order_seed)
        found: type[OfOneDataSet] = Ordered if data.keeps_order else Instances
        found = found if data.contexts is None else Contexts
        for option in ("increment", "class_order", "class_order_seed"):
            if getattr(self, option) not in ([], (), None):
                # A comparison with --class_orders sets the seed, too.
                given = "class_orders or --class_order_seed" if option == "class_order_seed" else option
                raise InvalidOptionError(
                    f"--{given} splits classes, but --stream {STREAMS.name_of(found)}, which suits {data.name}, does "
                    "not; leave it out."
                )
        return found(self.imbalance)

    @override
    def tasks(self, data: Dataset, cut: Cut) -> Tasks:
        return self.for_data(data).tasks(data, cut)


@STREAMS.register("class_split")
@dataclass
class ClassSplit(OfClasses):
    """Each task has some of the classes."""

    splits_classes: ClassVar[bool] = True

    @property
    @override
    def sets_number(self) -> bool:
        return bool(self.increment)

    @override
    def tasks(self, data: Dataset, cut: Cut) -> Tasks:
        if data.is_regression or data.is_multi_label:
            what = (
                f"the targets of {data.name} are numbers"
                if data.is_regression
                else f"a sample of {data.name} may have labels of several parts"
            )
            raise InvalidOptionError(
                f"--stream class_split splits classes, but {what}; use --stream ordered, instance, permuted, rotated "
                "or contexts."
            )
        seed = cut.seed if self.class_order_seed is None else self.class_order_seed
        groups = class_groups(data.n_classes, cut.num_tasks, self.increment, self.class_order, seed)
        tasks = []
        for group in groups:
            label_map = torch.arange(data.n_classes)
            if cut.shared_outputs:
                # The label is the position of the class in the group of its task (van de Ven & Tolias, 2019).
                label_map = torch.zeros(data.n_classes, dtype=torch.long)
                label_map[torch.tensor(group)] = torch.arange(len(group))
            members = torch.tensor(group)
            rows, rows_test = (torch.isin(y, members).nonzero().flatten() for y in (data.y, data.y_test))
            tasks.append(SupervisedTask(rows, rows_test, label_map))
        return tasks, max(map(len, groups)) if cut.shared_outputs else data.n_classes

    @override
    def names(self, data: Dataset, tasks: Sequence[SupervisedTask]) -> tuple[str, ...]:
        if not data.class_names:
            return ()
        return tuple(
            ", ".join(data.class_names[label] for label in torch.unique(data.y[task.rows]).tolist()) for task in tasks
        )


@STREAMS.register("permuted")
@dataclass
class Permuted(OfOneDataSet):
    """Each task has all samples, with their values in an order of its own."""

    transforms: ClassVar[bool] = True

    @override
    def tasks(self, data: Dataset, cut: Cut) -> Tasks:
        return _transformed(data, cut, _drawn("permuted", data, cut))


@STREAMS.register("rotated")
@dataclass
class Rotated(OfOneDataSet):
    """Each task has all images, turned by an angle of its own."""

    transforms: ClassVar[bool] = True

    angles: list[float] = field(default_factory=list)  # degrees of each task (default: drawn from the seed)

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        given = " ".join(f"{angle:g}" for angle in self.angles)
        if not all(map(math.isfinite, self.angles)):
            raise InvalidOptionError(f"--angles {given} has to hold finite numbers of degrees.")
        if len({angle % 360 for angle in self.angles}) < len(self.angles):
            raise InvalidOptionError(f"--angles {given} names an angle twice; each task has one of its own.")

    @property
    @override
    def sets_number(self) -> bool:
        return bool(self.angles)

    @override
    def tasks(self, data: Dataset, cut: Cut) -> Tasks:
        if not self.angles:
            return _transformed(data, cut, _drawn("rotated", data, cut))
        if cut.num_tasks not in (None, len(self.angles)):
            raise InvalidOptionError(
                f"--nb_tasks {cut.num_tasks} contradicts --angles, which makes {len(self.angles)} tasks; leave it out."
            )
        return _transformed(data, cut, [rotation_by(data.sample_shape, angle) for angle in self.angles])


@STREAMS.register("instance")
@dataclass
class Instances(OfOneDataSet):
    """Each task has an equal share of the samples of every class."""

    @override
    def tasks(self, data: Dataset, cut: Cut) -> Tasks:
        num_tasks = _count(cut)
        label_map = torch.arange(data.n_outputs)
        parts = [
            _split_by_class(y, num_tasks, derive_seed(cut.seed, "instances", split), kept)
            for split, y, kept in (("training", data.y, cut.kept), ("test", data.y_test, None))
        ]
        return [SupervisedTask(rows, rows_test, label_map) for rows, rows_test in zip(*parts, strict=True)], (
            data.n_outputs
        )


@STREAMS.register("ordered")
@dataclass
class Ordered(OfOneDataSet):
    """Tasks are consecutive parts of the data in its order."""

    @override
    def follows_time(self, data: Dataset) -> bool:
        return True

    @override
    def tasks(self, data: Dataset, cut: Cut) -> Tasks:
        num_tasks = _count(cut)
        label_map = torch.arange(data.n_outputs)
        parts = _consecutive(_by_time(data.time, len(data.y)), num_tasks)
        if data.time is None or data.time_test is None:
            parts_test = _consecutive(torch.arange(len(data.y_test)), num_tasks)
        else:
            begins = torch.stack([data.time[part[0]] for part in parts if len(part)])
            belongs_to = torch.searchsorted(begins[1:], data.time_test, right=True)
            parts_test = [(belongs_to == number).nonzero().flatten() for number in range(num_tasks)]
        return [SupervisedTask(*rows, label_map) for rows in zip(parts, parts_test, strict=True)], data.n_outputs


@STREAMS.register("contexts")
@dataclass
class Contexts(OfOneDataSet):
    """The tasks are those that the data names."""

    takes_tasks: ClassVar[bool] = True

    @property
    @override
    def sets_number(self) -> bool:
        return True

    @override
    def follows_time(self, data: Dataset) -> bool:
        return data.tasks_follow_time

    @override
    def tasks(self, data: Dataset, cut: Cut) -> Tasks:
        return tasks_by_context(data, cut.num_tasks), data.n_outputs

    @override
    def names(self, data: Dataset, tasks: Sequence[SupervisedTask]) -> tuple[str, ...]:
        return data.task_names


def tasks_by_context(data: Dataset, num_tasks: int | None) -> list[SupervisedTask]:
    """The tasks that a data set names.

    Raises:
        InvalidOptionError: If it names none, or not so many.
    """
    if data.contexts is None or data.contexts_test is None:
        raise InvalidOptionError(
            f"--stream contexts takes the tasks from the data, but {data.name} carries no task ids; "
            f"use --stream {'ordered' if data.is_regression else 'instance' if data.is_multi_label else 'class_split'}."
        )
    count = int(data.contexts.max()) + 1
    if num_tasks not in (None, count):
        raise InvalidOptionError(f"--nb_tasks {num_tasks} contradicts {data.name}, which has {count} tasks.")
    label_map = torch.arange(data.n_outputs)
    order = _by_time(data.time if data.tasks_follow_time else None, len(data.y))
    return [
        SupervisedTask(
            order[data.contexts[order] == number], (data.contexts_test == number).nonzero().flatten(), label_map
        )
        for number in range(count)
    ]


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
                f"use at most {n_classes}, or give the task of each sample (t) if the data has tasks of its own."
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


def _drawn(kind: str, data: Dataset, cut: Cut) -> list[Transform | None]:
    """The transform of each task, drawn from the seed."""
    numbers = range(cut.first, cut.first + _count(cut))
    return [transform_of_task(kind, number, data.sample_shape, cut.seed) for number in numbers]


def _transformed(data: Dataset, cut: Cut, transforms: Sequence[Transform | None]) -> Tasks:
    """A task with all samples for each transform; its outputs are its own, unless they are shared."""
    n_outputs, shared = data.n_outputs, cut.shared_outputs or data.is_regression
    everything = torch.arange(len(data.y)), torch.arange(len(data.y_test))
    tasks = [
        SupervisedTask(*everything, torch.arange(n_outputs) + (0 if shared else number * n_outputs), transform)
        for number, transform in enumerate(transforms)
    ]
    return tasks, n_outputs if shared else n_outputs * len(tasks)


def _split_by_class(y: Tensor, num_tasks: int, seed: int, kept: Tensor | None = None) -> list[Tensor]:
    """Divide the kept rows among `num_tasks` tasks: each gets an equal share of every class, if there are classes."""
    shuffled = torch.randperm(len(y), generator=generator(seed))
    if kept is not None:
        shuffled = shuffled[kept[shuffled]]
    by_class = shuffled if y.dtype != torch.int64 else shuffled[torch.argsort(y[shuffled], stable=True)]
    return [by_class[number::num_tasks].sort().values for number in range(num_tasks)]


def _by_time(time: Tensor | None, n: int) -> Tensor:
    return torch.arange(n) if time is None else torch.argsort(time, stable=True)


def _consecutive(rows: Tensor, parts: int) -> list[Tensor]:
    """Cut rows into consecutive parts whose sizes differ by at most one."""
    return [rows[split_evenly(len(rows), part, parts)] for part in range(parts)]


def _count(cut: Cut) -> int:
    return USUAL_NUMBER if cut.num_tasks is None else cut.num_tasks
