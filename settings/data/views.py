"""A view of a data set: some of its classes and samples, transformed; one task of a stream of tasks."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from redwood.core.errors import DataError
from redwood.core.seeding import generator
from redwood.settings.data.dataset import Dataset
from redwood.settings.data.transforms import Permutation, Transform, rotation_by

TRANSFORMS = ("none", "permuted", "inverted", "rotated")


@dataclass(frozen=True)
class View:
    """The part of a data set that one task uses.

    Attributes:
        dataset: Name of the data set, as `--dataset` takes it.
        classes: Its classes, in the order of their labels; empty: all.
        transform: `permuted` shuffles the values of each sample in one order, `inverted` exchanges low and high values,
            `rotated` turns images.
        seed: Draws the order of `permuted`.
        angle: Degrees of `rotated`, counter-clockwise.
        label_order: Label i stands for entry `label_order[i]` of `classes`; empty: i.
        train_per_class: Training samples of each class; None: all that are not kept for validation.
        validation_per_class: Samples of each class that are kept for validation; no training sample is among them.
        test_per_class: At most so many test samples of each class; None: all.
        name: Name in results; empty: data set and transform.
        year: Year of the task; a list whose tasks have years is sorted by them.
        group: Any text that results keep, such as a domain.
    """

    dataset: str
    classes: tuple[int, ...] = ()
    transform: str = "none"
    seed: int = 0
    angle: float = 0.0
    label_order: tuple[int, ...] = ()
    train_per_class: int | None = None
    validation_per_class: int = 0
    test_per_class: int | None = None
    name: str = ""
    year: int | None = None
    group: str = ""

    @property
    def title(self) -> str:
        """The name, or the data set with its transform."""
        return self.name or (self.dataset if self.transform == "none" else f"{self.dataset} {self.transform}")

    def describe(self) -> dict[str, object]:
        """Name, and year and group if there are any, for results."""
        given = {"year": self.year, "group": self.group or None}
        return {"name": self.title} | {key: value for key, value in given.items() if value is not None}


@dataclass(frozen=True, eq=False)
class TaskSamples:
    """The samples of one task, in memory; labels are 0..n-1.

    Attributes:
        title: Name of the task.
        classes: The number of the class of each label (n,) in its data set.
        class_names: The name of the class of each label (n,); empty where the data set has none.
        x: Training and validation samples (N, ...).
        y: Their labels (N,).
        validation: Mask of the samples kept for validation (N,), bool.
        x_test: Test samples (M, ...).
        y_test: Their labels (M,).
        max_value: Largest possible value of integer samples; None for floats.
    """

    title: str
    classes: tuple[int, ...]
    class_names: tuple[str, ...]
    x: Tensor
    y: Tensor
    validation: Tensor
    x_test: Tensor
    y_test: Tensor
    max_value: float | None


class Draws:
    """Deals the training samples of each class of each data set, in a random order.

    Views of one data set get different samples, until all have been dealt; then dealing starts again.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._dealt: dict[tuple[str, int], int] = {}

    def take(self, dataset: str, label: int, rows: Tensor, count: int) -> Tensor:
        """The next `count` (at most n) of the training `rows` (n,) of a class."""
        mixed = rows[torch.randperm(len(rows), generator=generator(self._seed, "view", dataset, label))]
        start = self._dealt.get((dataset, label), 0)
        self._dealt[dataset, label] = (start + count) % len(rows)
        return mixed[(start + torch.arange(count)) % len(rows)]

    def take_test(self, dataset: str, label: int, rows: Tensor, most: int | None) -> Tensor:
        """At most `most` of the test `rows` (m,) of a class: the same ones for all views."""
        mixed = rows[torch.randperm(len(rows), generator=generator(self._seed, "view at test", dataset, label))]
        return mixed[:most]


def cut(view: View, data: Dataset, draws: Draws) -> TaskSamples:
    """The samples that a view takes of its data set. Samples in files are read into memory.

    Args:
        view: The view.
        data: Its data set.
        draws: Deals the samples, to all views of the stream.

    Raises:
        DataError: If a class is missing, or has too few samples; or the targets are numbers.
    """
    kept: list[Tensor] = []
    held_out: list[Tensor] = []
    tested: list[Tensor] = []
    classes = _ordered_classes(view, data)
    for label in classes:
        rows, rows_test = ((y == label).nonzero().flatten() for y in (data.y, data.y_test))
        n_train, n_held_out = _sizes(view, label, len(rows))
        kept.append(draws.take(view.dataset, label, rows, n_train + n_held_out))
        held_out.append(torch.arange(n_train + n_held_out) >= n_train)
        tested.append(draws.take_test(view.dataset, label, rows_test, view.test_per_class))
        if not len(tested[-1]):
            raise DataError(f"Task {view.title}: class {label} of {view.dataset} has no test samples; leave it out.")
    transform = _Transform(view, data)
    return TaskSamples(
        title=view.title,
        classes=tuple(classes),
        class_names=tuple(data.class_names[label] for label in classes) if data.class_names else (),
        x=transform(data.x[torch.cat(kept)]),
        y=_labels(kept),
        validation=torch.cat(held_out),
        x_test=transform(data.x_test[torch.cat(tested)]),
        y_test=_labels(tested),
        max_value=data.max_value,
    )


def _labels(rows_by_label: Sequence[Tensor]) -> Tensor:
    return torch.cat([torch.full_like(rows, label) for label, rows in enumerate(rows_by_label)])


def _ordered_classes(view: View, data: Dataset) -> list[int]:
    """The class of each label."""
    if data.is_regression:
        raise DataError(f"Task {view.title}: the targets of {view.dataset} are numbers; a task needs classes.")
    if data.is_multi_label:
        raise DataError(f"Task {view.title}: samples of {view.dataset} have several labels; a task needs classes.")
    classes = list(view.classes) or list(range(data.n_classes))
    for label in classes:
        if not 0 <= label < data.n_classes:
            raise DataError(
                f"Task {view.title}: {view.dataset} has no class {label}, only 0..{data.n_classes - 1}; leave it out."
            )
    if len(set(classes)) < len(classes):
        raise DataError(f"Task {view.title}: its classes {classes} name a class twice; name each once.")
    order = list(view.label_order) or list(range(len(classes)))
    if sorted(order) != list(range(len(classes))):
        raise DataError(
            f"Task {view.title}: its label_order {order} has to name each of 0..{len(classes) - 1} once, one for each "
            "class."
        )
    return [classes[place] for place in order]


def _sizes(view: View, label: int, available: int) -> tuple[int, int]:
    """Training and validation samples of a class that has `available` samples."""
    held_out = view.validation_per_class
    wanted = available - held_out if view.train_per_class is None else view.train_per_class
    if wanted < 1 or wanted + held_out > available:
        asked = f"{held_out} for validation" + ("" if view.train_per_class is None else f" and {wanted} for training")
        raise DataError(
            f"Task {view.title}: class {label} of {view.dataset} has {available} training samples, which do not "
            f"suffice for {asked}; ask for fewer."
        )
    return wanted, held_out


class _Transform:
    """The transform of a view, for samples (B, ...) of its data set."""

    def __init__(self, view: View, data: Dataset) -> None:
        self._mirror = _lowest_plus_highest(data) if view.transform == "inverted" else None
        self._moves: Transform | None = None
        if view.transform == "permuted":
            self._moves = Permutation(data.sample_shape, view.seed)
        elif view.transform == "rotated":
            if len(data.sample_shape) != 3:
                raise DataError(f"Task {view.title}: {view.dataset} holds no images to rotate; use permuted.")
            self._moves = rotation_by(data.sample_shape, view.angle)

    def __call__(self, x: Tensor) -> Tensor:
        if self._mirror is not None:
            return (self._mirror - x).to(x.dtype)
        return x if self._moves is None else self._moves(x)


def _lowest_plus_highest(data: Dataset) -> float:
    """Return the sum of a value and its inverse, the same for all values."""
    if not data.x.dtype.is_floating_point:
        return int(data.max_value or 255)
    assert isinstance(data.x, Tensor)
    return float(data.x.min() + data.x.max())
