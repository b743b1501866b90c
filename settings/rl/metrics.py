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


def forgetting(R: Sequence[Sequence[float]] | NDArray[np.float64], order: Sequence[int] | None = None) -> float | None:
    """The mean over phases of what the task has lost since that phase: `F = 1/P sum_i (R[i, c_i] - R[P-1, c_i])`.

    From Wołczyk et al. (2021), section 4.2; the last phase, which counts as 0, included. A task that comes back counts
    once for each of its phases, as in their sequence CW20.

    Args:
        R: Mean returns (P, T).
        order: The task `c` (P,) of each phase where tasks come back; else phase i trains task i, and P in {1, T}.

    Returns:
        Negative if earlier tasks improved; None if one phase trained several tasks (P = 1 < T).
    """
    matrix = np.asarray(R, dtype=np.float64)
    if len(matrix) < matrix.shape[1]:
        return None
    trained = np.arange(len(matrix)) if order is None else np.asarray(order)
    return float((matrix[np.arange(len(matrix)), trained] - matrix[-1, trained]).mean())


def area_under_curve(curve: Sequence[tuple[int, float]], n_phases: int, steps_per_phase: int) -> list[float]:
    """The mean over the steps of each phase of a curve that holds each value back to the point before: (P,).

    Args:
        curve: Points (steps so far, mean return since the point before), one at the end of each phase that has any.
        n_phases: Phases.
        steps_per_phase: Steps of each.

    Returns:
        NaN for a phase without a point.
    """
    if not curve:
        return [float("nan")] * n_phases
    steps, values = np.array(curve, dtype=np.float64).T
    phases = (steps - 1) // steps_per_phase
    # The first point of a phase is of the steps since the phase began, whatever the point before it is of.
    begins = np.maximum(np.concatenate([[0.0], steps[:-1]]), phases * steps_per_phase)
    widths = steps - begins
    return [
        float(np.average(values[phases == phase], weights=widths[phases == phase]))
        if (phases == phase).any()
        else np.nan
        for phase in range(n_phases)
    ]


def forward_transfer_from_areas(areas: Vector, references: Vector) -> float | None:
    """The mean over phases of `(AUC_i - AUC_i^ref) / (1 - AUC_i^ref)`, of normalised areas under the training curves.

    From Wołczyk et al. (2021), section 4.2: how much faster a task is learned than by a fresh agent. Phases in which
    the reference leaves nothing to gain, or nothing was measured, do not count.

    Returns:
        At most 1; None if no phase counts.
    """
    own, single = np.asarray(areas, dtype=np.float64), np.asarray(references, dtype=np.float64)
    counts = np.isfinite(own) & np.isfinite(single) & (single < 1)
    if not counts.any():
        return None
    return float(((own - single)[counts] / (1 - single)[counts]).mean())
