"""What the classes of a stream are called, and which of them each output stands for."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from redwood.settings.data.dataset import Dataset
from redwood.settings.streams.tasks import SupervisedTask


@dataclass(frozen=True)
class Classes:
    """The classes of a stream by their names; a class without one is called by its number in its data set.

    Attributes:
        outputs: The classes that each output stands for (K,): several where tasks share outputs by their places.
            Empty where there are no classes, but numbers to predict or actions.
        by_label: The class of each label of the data. Empty where data sets disagree on that.
        named: Whether the data has names for them.
    """

    outputs: tuple[tuple[str, ...], ...] = ()
    by_label: tuple[str, ...] = ()
    named: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each output (K,); empty where the data has none."""
        names = tuple(" / ".join(own) or str(output) for output, own in enumerate(self.outputs))
        return names if self.named and names != numbers(len(names)) else ()


def numbers(n: int) -> tuple[str, ...]:
    """What `n` classes without names are called."""
    return tuple(map(str, range(n)))


def agreed(*labels: tuple[str, ...]) -> tuple[str, ...]:
    """The class of each label, if data sets with these classes by label agree on it; else empty."""
    longest = max(labels, key=len)
    return longest if all(longest[: len(own)] == own for own in labels) else ()


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
