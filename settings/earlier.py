"""A stream that goes on from that of an earlier run: its tasks come behind the earlier ones, and may bring classes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from gymnasium.spaces import Box
from torch import Tensor

from redwood.core.errors import DataError
from redwood.settings.data.arrays import Samples
from redwood.settings.data.dataset import Dataset
from redwood.settings.streams.tasks import SupervisedTask


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
    """What an earlier run hands on to one that extends it.

    Attributes:
        identity: Of the earlier run, as in its checkpoints.
        num_tasks: Tasks that it has trained.
        class_names: Name of each output (K,); where the data had none, their numbers.
        observation_space: Of its samples.
        feature_names: Name of each feature of its samples; empty where they have none.
        known: Its data, if that is still there.
    """

    identity: str
    num_tasks: int
    class_names: tuple[str, ...]
    observation_space: Box
    feature_names: tuple[str, ...]
    known: EarlierData | None


class Joined(NamedTuple):
    """A stream of the earlier tasks and the new ones.

    Attributes:
        data: The samples: those of the earlier run, if they are there, before the new ones.
        tasks: The earlier tasks, which are without samples if their data is gone, and the new ones.
        class_names: Name of each output (K,).
    """

    data: Dataset
    tasks: list[SupervisedTask]
    class_names: tuple[str, ...]


def join(earlier: Earlier, data: Dataset, tasks: Sequence[SupervisedTask], n_outputs: int, matched: str) -> Joined:
    """Put new tasks behind those of an earlier run.

    Args:
        earlier: The earlier run.
        data: The new samples.
        tasks: The new tasks.
        n_outputs: Outputs of the new tasks.
        matched: Which outputs of the new tasks are earlier ones: those of classes of the same `name`; those of the
            same `number`; or `none` of them. A class without a name is called by its number.

    Raises:
        DataError: If the new samples have another form than the earlier ones.
    """
    _check_form(earlier, data)
    names = _names_of(data)
    outputs, class_names = _outputs(earlier, names, n_outputs, matched, data)
    new = [replace(task, label_map=outputs[task.label_map]) for task in tasks]
    if earlier.known is None:
        nothing = torch.empty(0, dtype=torch.long)
        return Joined(data, [SupervisedTask(nothing, nothing, new[0].label_map)] * earlier.num_tasks + new, class_names)
    old = earlier.known
    labels = _Labels.joined(_names_of(old.data), names)
    n, n_test = len(old.data.y), len(old.data.y_test)
    behind = [
        SupervisedTask(task.rows + n, task.rows_test + n_test, labels.of_new(task.label_map), task.transform)
        for task in new
    ]
    before = [replace(task, label_map=labels.of_old(task.label_map)) for task in old.tasks]
    return Joined(_joined_data(old.data, data, labels), before + behind, class_names)


def _check_form(earlier: Earlier, data: Dataset) -> None:
    space = earlier.observation_space
    dtype = str(data.x.dtype).removeprefix("torch.")
    if data.sample_shape != space.shape or dtype != str(space.dtype):
        raise DataError(
            f"The samples of {data.name} are {data.sample_shape} {dtype}, but the run was trained on {space.shape} "
            f"{space.dtype}; bring them to that form."
        )
    highest = None if data.x.dtype.is_floating_point else float(data.max_value or 255)
    if highest is not None and highest > float(space.high.max()):
        raise DataError(
            f"The samples of {data.name} go up to {highest:g}, but the run was trained on 0..{space.high.max():g}; "
            "bring them to that range."
        )


def _names_of(data: Dataset) -> tuple[str, ...]:
    if data.kind != "classes":
        return ()
    return data.class_names or tuple(map(str, range(data.n_classes)))


def _outputs(
    earlier: Earlier, names: Sequence[str], n_outputs: int, matched: str, data: Dataset
) -> tuple[Tensor, tuple[str, ...]]:
    """The output (K_new,) of each output of the new tasks, and the name of each of all outputs."""
    known = list(earlier.class_names)
    if matched == "number" or data.kind != "classes":
        # Names of shared outputs join those of several tasks' classes, so that new ones are called by their numbers.
        return torch.arange(n_outputs), tuple(known + [str(one) for one in range(len(known), n_outputs)])
    if matched == "none":
        names = [names[output % len(names)] for output in range(n_outputs)]
        return torch.arange(n_outputs) + len(known), (*known, *names)
    added = [name for name in names if name not in known]
    all_names = known + added
    return torch.tensor([all_names.index(name) for name in names]), tuple(all_names)


@dataclass(frozen=True)
class _Labels:
    """The labels of two data sets as those of one: classes of the same name are one.

    Attributes:
        names: Name of each label of both (K,).
        new: The label of each label of the new data set (K_new,).
        n_old: Labels of the old data set.
    """

    names: tuple[str, ...]
    new: Tensor
    n_old: int

    @classmethod
    def joined(cls, old: tuple[str, ...], new: tuple[str, ...]) -> "_Labels":
        names = (*old, *(name for name in new if name not in old))
        return cls(names, torch.tensor([names.index(name) for name in new], dtype=torch.long), len(old))

    def of_old(self, label_map: Tensor) -> Tensor:
        """The map of an earlier task (K_old,), for all labels (K,); a task has none of the others."""
        return torch.cat([label_map, label_map.new_zeros(len(self.names) - self.n_old)]) if self.names else label_map

    def of_new(self, label_map: Tensor) -> Tensor:
        """The map of a new task (K_new,), for all labels (K,)."""
        if not self.names:
            return label_map
        result = label_map.new_zeros(len(self.names))
        result[self.new] = label_map
        return result


def _joined_data(old: Dataset, new: Dataset, labels: _Labels) -> Dataset:
    if old.kind != new.kind:
        raise DataError(f"The targets of {new.name} are {new.kind}, but the run was trained on {old.kind}.")
    y, y_test = (labels.new[part] if labels.names else part for part in (new.y, new.y_test))
    filled = [
        torch.zeros(len(data.y), dtype=torch.bool) if data.validation is None else data.validation
        for data in (old, new)
    ]
    numbers = tuple(map(str, range(len(labels.names))))
    return Dataset(
        name=new.name,
        x=join_samples(old.x, new.x),
        y=torch.cat([old.y, y]),
        x_test=join_samples(old.x_test, new.x_test),
        y_test=torch.cat([old.y_test, y_test]),
        max_value=old.max_value,
        validation=None if old.validation is None and new.validation is None else torch.cat(filled),
        class_names=() if labels.names == numbers else labels.names,
        feature_names=new.feature_names,
        compare_all=old.compare_all and new.compare_all,
    )


def join_samples(first: Samples, second: Samples) -> Samples:
    """All samples of two sources (N + M, ...), one source after the other."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return torch.cat([first, second])
    return _SamplesInTurn(first, second)


class _SamplesInTurn:
    """The samples of two sources, of which one reads files when it is indexed (implements `Samples`)."""

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
