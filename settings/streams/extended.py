"""A stream that goes on from that of an earlier run: its tasks come behind the earlier ones, and may bring classes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import NamedTuple

import torch
from gymnasium.spaces import Box
from torch import Tensor

from redwood.core.errors import DataError
from redwood.core.user_warnings import warn
from redwood.settings.data.arrays import Samples
from redwood.settings.data.classes import Classes, agreed, numbers
from redwood.settings.data.dataset import Dataset, are_numbers, shortened
from redwood.settings.data.form import stored_alike, with_channel
from redwood.settings.streams.tasks import StreamPart, SupervisedTask


@dataclass(frozen=True, eq=False)
class EarlierData:
    """The data of an earlier run, for tests on its tasks.

    Attributes:
        data: The samples.
        tasks: The tasks that the run has trained.
        task_names: Their names; empty if they have none.
    """

    data: Dataset
    tasks: Sequence[SupervisedTask]
    task_names: tuple[str, ...]

    def with_names(self, new: tuple[str, ...], n_tasks: int) -> tuple[str, ...]:
        """The names of these tasks and of `n_tasks` in all; tasks without one are called by their numbers."""
        if not self.task_names and not new:
            return ()
        numbers = tuple(map(str, range(n_tasks)))
        n = len(self.tasks)
        return (self.task_names or numbers[:n]) + (new or numbers[n:])


@dataclass(frozen=True, eq=False)
class Earlier:
    """The data of an earlier run for a run that extends it.

    Attributes:
        identity: Identity of the earlier run, as in its checkpoints.
        num_tasks: Number of tasks that it has trained.
        classes: Classes that its outputs stand for.
        observation_space: Space of its samples.
        feature_names: Name of each feature of its samples; empty where they have none.
        known: Its data, if they still exist.
        task_names: Names of its tasks that are no names of classes, also if its data is gone.
    """

    identity: str
    num_tasks: int
    classes: Classes
    observation_space: Box
    feature_names: tuple[str, ...]
    known: EarlierData | None
    task_names: tuple[str, ...] = ()

    def name_of_further(self, data: Dataset) -> str:
        """The name of new data that is one task, such as the folder of a month; empty where tasks have no names."""
        return data.name if self.task_names and not data.task_names and data.name not in self.task_names else ""


class Joined(NamedTuple):
    """A stream of the earlier tasks and the new ones.

    Attributes:
        data: The samples: those of the earlier run, if they are there, before the new ones.
        tasks: The earlier tasks, which are without samples if their data is gone, and the new ones.
        classes: The classes that the outputs stand for.
    """

    data: Dataset
    tasks: list[SupervisedTask]
    classes: Classes


def join(
    earlier: Earlier,
    data: Dataset,
    tasks: Sequence[SupervisedTask],
    n_outputs: int,
    *,
    shared: bool,
    stream: StreamPart,
) -> Joined:
    """Put new tasks behind those of an earlier run.

    Args:
        earlier: The earlier run.
        data: The new samples, in the form of the run.
        tasks: The new tasks.
        n_outputs: Outputs of the new tasks.
        shared: Whether all tasks share their outputs.
        stream: The stream that made the new tasks.

    Raises:
        DataError: If the new targets have another form than the earlier ones, or it cannot be told which of the new
            classes are earlier ones.
    """
    _check_kind(earlier, data)
    _warn_of_tasks_again(earlier, data)
    names = () if data.is_regression else _in_words_of_the_run(earlier.classes, data, shared)
    outputs, classes = _outputs(earlier.classes, names, tasks, n_outputs, data, shared=shared, stream=stream)
    new = [replace(task, label_map=own) for task, own in zip(tasks, outputs, strict=True)]
    if earlier.known is None:
        nothing = torch.empty(0, dtype=torch.long)
        return Joined(data, [SupervisedTask(nothing, nothing, new[0].label_map)] * earlier.num_tasks + new, classes)
    old = earlier.known
    _warn_of_tests_among(data, old.data)
    labels = _Labels.joined(old.data, data, names)
    n, n_test = len(old.data.y), len(old.data.y_test)
    behind = [
        SupervisedTask(task.rows + n, task.rows_test + n_test, labels.of_new(task.label_map), task.transform)
        for task in new
    ]
    before = [replace(task, label_map=labels.of_old(task, old.data)) for task in old.tasks]
    return Joined(_joined_data(old.data, data, labels), before + behind, classes)


def in_form_of_the_run(earlier: Earlier, data: Dataset) -> Dataset:
    """New data whose samples are stored as those of an earlier run.

    Raises:
        DataError: If they have another shape or other values.
    """
    space = earlier.observation_space
    x, x_test = (_in_form_of(space, data, samples) for samples in (data.x, data.x_test))
    if x is data.x and x_test is data.x_test:
        return data
    max_value = None if x.dtype.is_floating_point else float(space.high.max())
    return replace(data, x=x, x_test=x_test, max_value=max_value)


def _in_form_of(space: Box, data: Dataset, samples: Samples) -> Samples:
    own = with_channel(space, samples) if isinstance(samples, Tensor) else samples
    dtype = str(own.dtype).removeprefix("torch.")
    if tuple(own.shape[1:]) != space.shape:
        raise DataError(
            f"The samples of {data.name} are {data.sample_shape} {dtype}, but the run was trained on {space.shape} "
            f"{space.dtype}; bring them to that form."
        )
    whose = f"the samples of {data.name}"
    if isinstance(own, Tensor):
        return stored_alike(space, own, trained="run", whose=whose)
    # Samples that are read batch by batch: any value of their type may be among them.
    highest = math.inf if own.dtype.is_floating_point else float(data.max_value or 255)
    if dtype != str(space.dtype) or (not own.dtype.is_floating_point and highest > float(space.high.max())):
        bounds = "" if space.dtype.kind == "f" else f" in 0..{space.high.max():g}"
        raise DataError(
            f"The samples of {data.name} are {dtype} that may go up to {highest:g}, but the run was trained on "
            f"{space.dtype}{bounds}; bring them to that form."
        )
    return own


def _check_kind(earlier: Earlier, data: Dataset) -> None:
    trained_on = "classes" if earlier.classes.outputs else "regression"
    if earlier.known is not None:
        trained_on = earlier.known.data.kind
    elif earlier.classes.outputs and data.is_multi_label:
        return  # both have labels; whether these are the same is looked at later
    if data.kind != trained_on:
        raise DataError(f"The targets of {data.name} are {data.kind}, but the run was trained on {trained_on}.")


def _in_words_of_the_run(old: Classes, data: Dataset, shared: bool) -> tuple[str, ...]:
    """Return the names (K,) that the classes of new data have in the earlier run, found by name, or else by label."""
    names = data.called
    known = old.by_label or tuple(dict.fromkeys(chain.from_iterable(old.outputs)))
    if are_numbers(names) == are_numbers(known):
        return names
    lacking, other = (data.name, "the run") if are_numbers(names) else ("the run", data.name)
    if not shared:
        raise DataError(
            f"The classes of {lacking} have no names, unlike those of {other}, so that nobody can tell which ones are "
            "the same; call them by names in both, or by numbers in both."
        )
    # Tasks that share their outputs have the same classes, so that a label stands for the same one.
    by_label = {str(number): one for number, one in enumerate(old.by_label)}
    if are_numbers(known):
        names, by_label = numbers(len(names)), {one: one for one in chain.from_iterable(old.outputs)}
    unknown = next((name for name in names if name not in by_label), None)
    if unknown is not None:
        raise DataError(
            f"The classes of {lacking} have no names, and no class of the run is known by the label {unknown} of "
            f"{data.name}; call them by names in both, or by numbers in both."
        )
    return tuple(by_label[name] for name in names)


def _outputs(
    old: Classes,
    names: Sequence[str],
    tasks: Sequence[SupervisedTask],
    n_outputs: int,
    data: Dataset,
    *,
    shared: bool,
    stream: StreamPart,
) -> tuple[list[Tensor], Classes]:
    """The output of each label (K_new,) in each of the new tasks, and the classes of all outputs."""
    if data.is_regression:
        return [task.label_map for task in tasks], Classes()
    if data.is_multi_label:
        return [_same_labels(old, names, data)] * len(tasks), old
    known = set(chain.from_iterable(old.outputs))
    outputs = [dict.fromkeys(own) for own in old.outputs]
    by_place = shared and stream.splits_classes and any(len(own) > 1 for own in outputs) and known.isdisjoint(names)
    if by_place or (stream.transforms and not shared):
        # Of a split, the classes of one place share an output; and samples that are moved have outputs of their own.
        first = 0 if by_place else len(outputs)
        label_maps = [task.label_map + first for task in tasks]
        outputs += [{} for _ in range(first + n_outputs - len(outputs))]
        for task, label_map in zip(tasks, label_maps, strict=True):
            for label in torch.unique(data.y[task.rows]).tolist():
                outputs[int(label_map[label])][names[label]] = None
    else:
        if shared and known.isdisjoint(names):
            raise DataError(
                f"All tasks share their outputs, but no class of {data.name} ({shortened(names)}) is one of the run "
                f"({shortened(sorted(known))}); call them alike, or extend a run under class_incremental."
            )
        label_maps = [_by_name(outputs, names)] * len(tasks)
    by_label = agreed(old.by_label, tuple(names))
    return label_maps, Classes(tuple(map(tuple, outputs)), by_label, old.named or bool(data.class_names))


def _by_name(outputs: list[dict[str, None]], names: Sequence[str]) -> Tensor:
    """The output of each class (K_new,): the only one that it has, or a new one, which is added to `outputs`.

    A class that has several, one in each of several tasks, gets another one for the new tasks.
    """
    found = []
    for name in names:
        places = [output for output, own in enumerate(outputs) if name in own]
        if len(places) != 1:
            places = [len(outputs)]
            outputs.append({name: None})
        found += places
    return torch.tensor(found)


def _same_labels(old: Classes, names: Sequence[str], data: Dataset) -> Tensor:
    """Return the output of each label (L,) of label sets; the run has to know all of these labels."""
    if sorted(names) != sorted(old.by_label):
        raise DataError(
            f"The labels of {data.name} ({shortened(names)}) are not those of the run ({shortened(old.by_label)}), "
            "which samples with several labels need; bring y to these columns."
        )
    return torch.tensor([old.by_label.index(name) for name in names])


@dataclass(frozen=True)
class _Labels:
    """The labels of two data sets as those of one: classes of the same name are one.

    Attributes:
        names: Name of each label of both (K,); empty where the targets are no classes.
        old: The label of each label of the old data set (K_old,).
        new: The label of each label of the new data set (K_new,).
    """

    names: tuple[str, ...]
    old: Tensor
    new: Tensor

    @classmethod
    def joined(cls, old: Dataset, new: Dataset, called: tuple[str, ...]) -> "_Labels":
        """Join the labels of two data sets; those of the new one are `called` so."""
        if old.kind != "classes" or new.kind != "classes":
            return cls((), torch.empty(0), torch.empty(0))
        before = old.class_names or numbers(old.n_classes)
        names = tuple(dict.fromkeys((*before, *called)))
        at = {name: label for label, name in enumerate(names)}
        return cls(names, torch.tensor([at[name] for name in before]), torch.tensor([at[name] for name in called]))

    def of_old(self, task: SupervisedTask, data: Dataset) -> Tensor:
        """The outputs of an earlier task of `data` for all labels (K,); those that it lacks have any."""
        if not self.names:
            return task.label_map
        result = task.label_map.new_zeros(len(self.names))
        # Other tasks may have other labels of the same name.
        own = torch.unique(torch.cat([data.y[task.rows], data.y_test[task.rows_test]]))
        result[self.old[own]] = task.label_map[own]
        return result

    def of_new(self, label_map: Tensor) -> Tensor:
        """The map of a new task (K_new,), for all labels (K,)."""
        if not self.names:
            return label_map
        result = label_map.new_zeros(len(self.names))
        result[self.new] = label_map
        return result


def _warn_of_tasks_again(earlier: Earlier, data: Dataset) -> None:
    again = [name for name in data.task_names if name in earlier.task_names]
    if again:
        warn(
            f"{data.name} has {len(again)} of the tasks of the run that is extended ({shortened(again)}); they are "
            "learned again, as further tasks. Give the new samples alone, such as the folder of the new task."
        )


def _warn_of_tests_among(new: Dataset, old: Dataset) -> None:
    """Warn if new data trains on samples that earlier tasks are tested on; samples in image files are not compared."""
    if not isinstance(new.x, Tensor) or not isinstance(old.x_test, Tensor) or old.x_test is old.x:
        return
    tested = {hash(sample.tobytes()) for sample in old.x_test.numpy()}
    again = sum(hash(sample.tobytes()) in tested for sample in new.x.numpy())
    if again:
        warn(
            f"Of the {len(new.y)} new training samples of {new.name}, {again} are equal to test samples of the run that"
            " is extended, so that scores on earlier tasks count what was trained. If both come from one file without "
            "test samples, give the --seed of that run."
        )


def _joined_data(old: Dataset, new: Dataset, labels: _Labels) -> Dataset:
    if old.y.shape[1:] != new.y.shape[1:]:
        raise DataError(
            f"The targets of {new.name} are {tuple(new.y.shape[1:])}, but the run was trained on "
            f"{tuple(old.y.shape[1:])}; bring them to that form."
        )

    filled = [
        torch.zeros(len(data.y), dtype=torch.bool) if data.validation is None else data.validation
        for data in (old, new)
    ]
    splits = [(old.y, new.y), (old.y_test, new.y_test)]
    class_names = old.class_names
    if labels.names:
        splits = [(labels.old[before], labels.new[behind]) for before, behind in splits]
        class_names = () if labels.names == numbers(len(labels.names)) else labels.names
    return Dataset(
        name=new.name,
        x=join_samples(old.x, new.x),
        y=torch.cat(splits[0]),
        x_test=join_samples(old.x_test, new.x_test),
        y_test=torch.cat(splits[1]),
        max_value=old.max_value,
        validation=None if old.validation is None and new.validation is None else torch.cat(filled),
        class_names=class_names,
        feature_names=new.feature_names,
        compare_all=old.compare_all and new.compare_all,
    )


def join_samples(first: Samples, second: Samples) -> Samples:
    """All samples of two sources (N + M, ...), one source after the other."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return torch.cat([first, second])
    return _SamplesInTurn(first, second)


class _SamplesInTurn:
    """The samples of two sources, if one of them reads files when it is indexed (implements `Samples`)."""

    def __init__(self, first: Samples, second: Samples) -> None:
        self._first, self._second = first, second
        self.dtype = first.dtype

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self), *self._first.shape[1:]))

    def __len__(self) -> int:
        return len(self._first) + len(self._second)

    def __getitem__(self, index: Tensor, /) -> Tensor:
        result = torch.empty((len(index), *self.shape[1:]), dtype=self.dtype)
        behind = index >= len(self._first)
        if not bool(behind.all()):
            result[~behind] = self._first[index[~behind]]
        if bool(behind.any()):
            result[behind] = self._second[index[behind] - len(self._first)]
        return result
