"""Streams whose tasks are parts of several data sets, such as a list of them."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from redwood.core.checks import check_range
from redwood.core.errors import InvalidOptionError
from redwood.settings.data.dataset import Dataset, are_numbers
from redwood.settings.data.task_list import read_task_list, views_of_names
from redwood.settings.data.views import View
from redwood.settings.streams.cuts import tasks_by_context
from redwood.settings.streams.tasks import STREAMS, Cut, StreamPart, Tasks


@dataclass
class OfSeveralDataSets(StreamPart):
    """Tasks that are views of data sets; a run may begin with a later one."""

    joins: ClassVar[bool] = True

    first_task: int = 0  # first task of this run; an earlier run has learned the tasks before it

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "first_task", 0)

    @abstractmethod
    def called(self, dataset: str) -> str:
        """The name of all tasks together; `dataset` is the name of the option's data."""

    @abstractmethod
    def check_dataset(self, dataset: object, usual: object) -> None:
        """Raise `InvalidOptionError` if it cannot be made of the option `dataset`, whose default is `usual`."""

    def usual_image_size(self, seed: int) -> int:
        """Side of the images in pixels, unless the user sets one; 0: that of the data sets."""
        return 0

    @abstractmethod
    def views(self, dataset: str, load: Callable[[str], Dataset], seed: int, nb_tasks: int | None) -> list[View]:
        """The tasks.

        Args:
            dataset: Name of the data.
            load: Loads a data set by its name.
            seed: Seed of all random choices.
            nb_tasks: The number of tasks of the run; None: all.
        """

    @override
    def tasks(self, data: Dataset, cut: Cut) -> Tasks:
        """Tasks whose labels follow each other, or which share outputs."""
        tasks = tasks_by_context(data, None)
        if not cut.shared_outputs:
            return tasks, data.n_outputs
        own = [torch.unique(data.y[task.rows]) for task in tasks]
        outputs = _shared_outputs(data, own)
        n_outputs = 1 + max(map(max, outputs))
        shared = []
        for task, classes, places in zip(tasks, own, outputs, strict=True):
            label_map = torch.zeros(data.n_outputs, dtype=torch.long)
            label_map[classes] = torch.tensor(places)
            shared.append(replace(task, label_map=label_map))
        return shared, n_outputs

    @override
    def part_of_run(self, data: Dataset, n_tasks: int, wanted: int | None) -> range:
        first, left = self.first_task, n_tasks - self.first_task
        if left <= 0:
            raise InvalidOptionError(
                f"--first_task {first} is none of the {n_tasks} tasks of {data.name}, which count from 0; use at most "
                f"{n_tasks - 1}."
            )
        if wanted is not None and wanted > left:
            raise InvalidOptionError(
                f"--nb_tasks {wanted} is more than the {left} tasks of {data.name} that are left from task {first} on; "
                "use fewer."
            )
        return range(first, n_tasks if wanted is None else first + wanted)


@STREAMS.register("tasks")
@dataclass
class TaskList(OfSeveralDataSets):
    """A task for each data set of `--dataset a,b,c`, or for each entry of a file."""

    stream_file: str = ""  # YAML list of data sets and parts of them (default: those of --dataset a,b,c)

    @override
    def called(self, dataset: str) -> str:
        return Path(self.stream_file).stem if self.stream_file else dataset

    @override
    def check_dataset(self, dataset: object, usual: object) -> None:
        if self.stream_file and dataset != usual:
            raise InvalidOptionError(
                f"--dataset {getattr(dataset, 'name', dataset)} and --stream_file {self.stream_file} both name the "
                "data sets; leave one of them out."
            )
        if not isinstance(dataset, str):
            raise InvalidOptionError(
                f"--stream tasks needs the names of data sets, but {getattr(dataset, 'name', dataset)} is one in "
                "memory; use --stream contexts for the tasks of its own."
            )

    @override
    def views(self, dataset: str, load: Callable[[str], Dataset], seed: int, nb_tasks: int | None) -> list[View]:
        return read_task_list(Path(self.stream_file)) if self.stream_file else views_of_names(dataset)


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
