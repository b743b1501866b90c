"""Scores of reinforcement runs relative to references, after Wołczyk et al. (2021), "Continual World"."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Vector: TypeAlias = Sequence[float] | Sequence[float | None] | NDArray[np.float64]


def normalised(returns: Vector, random: Vector, reference: Vector) -> NDArray[np.float64]:
    """Returns (T,) on a scale on which random actions get 0 and the single-task reference gets 1.

    Where the reference is no better than random actions there is no such scale: NaN.
    """
    span = np.asarray(reference, dtype=np.float64) - np.asarray(random, dtype=np.float64)
    scale = np.where(span > 0, span, np.nan)
    return np.asarray((np.asarray(returns, dtype=np.float64) - np.asarray(random, dtype=np.float64)) / scale)


def area_under_curve(curve: Sequence[tuple[int, float]], n_phases: int) -> list[float]:
    """The mean over the steps of each phase of a curve that holds each value back to the point before: (P,).

    Args:
        curve: Points (steps so far, mean return since the point before), the last one at the end of the last phase.
        n_phases: Phases, all of the same number of steps.

    Returns:
        NaN for a phase without a point.
    """
    if not curve:
        return [float("nan")] * n_phases
    steps, values = np.array(curve, dtype=np.float64).T
    widths = np.diff(steps, prepend=0.0)
    phases = np.minimum((steps - 1) * n_phases // steps[-1], n_phases - 1)
    return [
        float(np.average(values[phases == phase], weights=widths[phases == phase]))
        if (phases == phase).any()
        else np.nan
        for phase in range(n_phases)
    ]


def forward_transfer_from_areas(areas: Vector, references: Vector) -> float | None:
    """The mean over tasks of `(AUC_i - AUC_i^ref) / (1 - AUC_i^ref)`, of normalised areas under the training curves.

    From Wołczyk et al. (2021), section 4.2: how much faster a task is learned than by a fresh agent. Tasks on which the
    reference leaves nothing to gain, or nothing was measured, do not count.

    Returns:
        At most 1; None if no task counts.
    """
    own, single = np.asarray(areas, dtype=np.float64), np.asarray(references, dtype=np.float64)
    counts = np.isfinite(own) & np.isfinite(single) & (single < 1)
    if not counts.any():
        return None
    return float(((own - single)[counts] / (1 - single)[counts]).mean())
