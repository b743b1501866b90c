"""The scores of a method on each task, after a phase."""

import math
from dataclasses import dataclass

from torch import Tensor

from redwood.core.state import State
from redwood.settings.scores.slices import SliceScores


@dataclass(frozen=True)
class Scores:
    """The scores of a method on each task.

    Attributes:
        per_task: Accuracy in [0, 1] on each task; mAP of label sets; RMSE where numbers are predicted; mean return of
            environments. None: not tested.
        top5: Share of samples whose class is among the five highest scores, if there are more than ten classes. Where
            ids are shown, only those of the sample's task count, and a task of up to five classes has None.
        slices: Scores on each slice of the samples; None where no classes are predicted.
        details: Further plain values of the phase; `Stream.result_fields` makes fields of the results from them.
    """

    per_task: list[float | None]
    top5: list[float | None] | None = None
    slices: SliceScores | None = None
    details: State | None = None


def nan_to_none(means: Tensor) -> list[float | None]:
    """The means (T,) as a list. The mean of a task without samples is NaN, and becomes None."""
    return [None if math.isnan(mean) else mean for mean in means.tolist()]
