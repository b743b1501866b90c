"""Scores of a classifier on each slice of the test samples: its accuracy, its loss, and how far these lie apart."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Self

import torch
from torch import Tensor

from redwood.core.schema import Json
from redwood.settings.data.dataset import Dataset

LOSS, ERROR_RATE = "loss", "error rate"


@dataclass(frozen=True, eq=False)
class Slicing:
    """The slices of the test samples.

    Attributes:
        by: The origin of the slices: "class", or the name of a column.
        names: Name of each slice (S,).
        of_rows: The slice of each test row of the data set (M,).
    """

    by: str
    names: Sequence[str]
    of_rows: Tensor


def slicing_of(data: Dataset, column: str) -> Slicing:
    """The slices of the test samples of a data set with classes, by its column of slices or else by class."""
    if data.slices_test is not None:
        return Slicing(column or "slice", data.slice_names, data.slices_test)
    if not data.class_names:
        return Slicing("class", [str(label) for label in range(data.n_classes)], data.y_test)
    names = tuple(dict.fromkeys(data.class_names))  # classes of one name, in several tasks, are one slice
    slice_of = torch.tensor([names.index(name) for name in data.class_names])
    return Slicing("class", names, slice_of[data.y_test])


@dataclass(frozen=True)
class SliceScores:
    """Scores on each of S slices.

    The equalised error rates say how far the slices lie apart. They are the mean and the maximum of `|l_i - mean(l)|`
    over the slices i. Here `l_i` is the loss of slice i, and `mean(l)` the mean over the slices (Tae & Whang, "Slice
    Tuner", SIGMOD 2021, section 2.2). The authors' code has another variant: the mean of `l_i - mean(l_j, j != i)` over
    the slices that are worse than the others. Where a loss is not known, `l_i` is the error rate.

    Attributes:
        by: The origin of the slices: "class", or the name of a column.
        names: Name of each slice (S,).
        samples: Number of test samples (S,). Slices without one do not count below.
        accuracy: Accuracy (S,) in [0, 1]; None without samples.
        loss: Mean cross-entropy (S,), in nats, of the scores that the method returned; None if it returned classes, or
            gave a sample's class no chance.
        average_eer: Average equalised error rate.
        largest_eer: Largest equalised error rate.
        eer_of: The value that the equalised error rates compare: "loss" or "error rate".
    """

    by: str
    names: list[str]
    samples: list[int]
    accuracy: list[float | None]
    loss: list[float | None]
    average_eer: float
    largest_eer: float
    eer_of: str

    @classmethod
    def from_sums(cls, slicing: Slicing, sums: Tensor) -> Self:
        """The scores of the sums (3, S) over the samples of each slice: their number, right answers, and losses."""
        samples, right, losses = sums
        accuracy, loss = (_finite(values / samples) for values in (right, losses))
        tested = [number for number, n in enumerate(samples.tolist()) if n]
        errors = [1 - value for value in accuracy if value is not None]
        known = [value for value in (loss[number] for number in tested) if value is not None]
        by_loss = len(known) == len(tested)
        values = torch.tensor(known if by_loss else errors, dtype=torch.float64)
        gaps = (values - values.mean()).abs()
        return cls(
            slicing.by,
            list(slicing.names),
            [int(n) for n in samples.tolist()],
            accuracy,
            loss,
            float(gaps.mean()),
            float(gaps.max()),
            LOSS if by_loss else ERROR_RATE,
        )

    @property
    def only_class(self) -> str | None:
        """The class that every sample was predicted as; None if there are several, or slices are no classes.

        Then all samples of this class are right, and those of all others are wrong.
        """
        tested = {name: value for name, value in zip(self.names, self.accuracy, strict=True) if value is not None}
        right = [name for name, value in tested.items() if value > 0]
        if self.by != "class" or len(tested) < 2 or len(right) != 1 or tested[right[0]] < 1:
            return None
        return right[0]

    def to_dict(self) -> Json:
        """The scores as plain values, for files."""
        return asdict(self)


def _finite(values: Tensor) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values.tolist()]
