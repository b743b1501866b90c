"""The metrics of continual reinforcement learning, as pure functions of returns or success rates.

`R` (P, T) holds the mean return, or the success rate, on each task after each phase. A curve (K, T) holds the same at
`steps` (K,), inside phases too. `order` (P,) is the task of each phase; tasks are numbered as they come.

Sources: Wołczyk et al., "Continual World: A Robotic Benchmark For Continual Reinforcement Learning" (NeurIPS 2021),
section 4.2; Powers et al., "CORA: Benchmarks, Baselines, and Metrics as a Platform for Continual Reinforcement Learning
Agents" (CoLLAs 2022), section 4.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Vector: TypeAlias = Sequence[float] | Sequence[float | None] | NDArray[np.float64]
Table: TypeAlias = NDArray[np.float64]

# Returns after each phase, and areas under curves.


def normalised(returns: Vector, random: Vector, reference: Vector) -> NDArray[np.float64]:
    """Scale returns (T,) such that random actions get 0 and the single-task reference gets 1.

    A task on which the reference is no better than random actions gets NaN.
    """
    span = np.asarray(reference, dtype=np.float64) - np.asarray(random, dtype=np.float64)
    scale = np.where(span > 0, span, np.nan)
    return np.asarray((np.asarray(returns, dtype=np.float64) - np.asarray(random, dtype=np.float64)) / scale)


def forgetting(R: Sequence[Sequence[float]] | NDArray[np.float64], order: Sequence[int] | None = None) -> float | None:
    """Return the mean over phases of the return that the phase's task has lost since.

    It is `F = 1/P sum_i F_i` of Wołczyk et al. (2021), section 4.2, of `forgetting_by_phase`. The last phase counts as
    0. A task that comes back counts once for each of its phases, as in their sequence CW20.

    Args:
        R: Mean returns (P, T).
        order: The task `c` (P,) of each phase; by default phase i trains task i, and P is 1 or T.

    Returns:
        The mean, negative if earlier tasks improved; None if one phase trained several tasks (P = 1 < T).
    """
    losses = forgetting_by_phase(R, order)
    return None if losses is None else float(losses.mean())


def forgetting_by_phase(
    R: Sequence[Sequence[float]] | NDArray[np.float64], order: Sequence[int] | None = None
) -> Table | None:
    """Return how much the task of each phase has lost since: `F_i = R[i, c_i] - R[P-1, c_i]`.

    `R[i, c_i]` is `p_i(i Delta)` of Wołczyk et al. (2021), section 4.2, and the last row is `p_i(T)`. Their code takes
    the mean of the last five evaluations for both (`calculate_forgetting_individual`); here both are single values.

    Returns:
        The losses (P,); None if one phase trained several tasks (P = 1 < T).
    """
    matrix = np.asarray(R, dtype=np.float64)
    if len(matrix) < matrix.shape[1]:
        return None
    trained = np.arange(len(matrix)) if order is None else np.asarray(order)
    losses: Table = matrix[np.arange(len(matrix)), trained] - matrix[-1, trained]
    return losses


def area_under_curve(curve: Sequence[tuple[int, float]], num_phases: int, steps_per_phase: int) -> list[float]:
    """Return the mean of a curve over the steps of each phase (P,); a value holds for the steps since the last point.

    Args:
        curve: Points (steps so far, mean return since the last point). A phase that has points has one at its end.
        num_phases: Number of phases.
        steps_per_phase: Steps of each phase.

    Returns:
        The means; NaN for a phase without a point.
    """
    if not curve:
        return [float("nan")] * num_phases
    steps, values = np.array(curve, dtype=np.float64).T
    phases = (steps - 1) // steps_per_phase
    # The first point of a phase holds since the phase began, not since the last point.
    begins = np.maximum(np.concatenate([[0.0], steps[:-1]]), phases * steps_per_phase)
    widths = steps - begins
    return [
        float(np.average(values[phases == phase], weights=widths[phases == phase]))
        if (phases == phase).any()
        else np.nan
        for phase in range(num_phases)
    ]


def forward_transfer_from_areas(areas: Vector, references: Vector) -> float | None:
    """Return how much faster tasks are learned than by a fresh agent (Wołczyk et al., 2021, section 4.2).

    It is the mean over phases of `(AUC_i - AUC_i^ref) / (1 - AUC_i^ref)`, of normalised areas under the training
    curves. A phase does not count if the reference leaves nothing to gain, or if nothing was measured.

    Returns:
        The mean, at most 1; None if no phase counts.
    """
    own, single = np.asarray(areas, dtype=np.float64), np.asarray(references, dtype=np.float64)
    counts = np.isfinite(own) & np.isfinite(single) & (single < 1)
    if not counts.any():
        return None
    return float(((own - single)[counts] / (1 - single)[counts]).mean())


# Curves of all tasks (Continual World).


def average_performance(values: Table) -> Table:
    """Return the performance at each point (K,): `P(t) = 1/T sum_i p_i(t)` of Wołczyk et al. (2021), section 4.2.

    Args:
        values: Success rates or returns `p_i(t)` (K, T) of all tasks, those to come included.
    """
    mean: Table = values.mean(axis=1)
    return mean


def performance_over_time(steps: Sequence[int], values: Table, total: int) -> float | None:
    """Return the mean of `average_performance` over all steps; a value holds for the steps since the last point.

    Args:
        steps: Steps (K,) of the points, the last of which is `total`; a point at 0 does not count.
        values: Success rates or returns (K, T).
        total: Steps of the run.

    Returns:
        The mean; None if a task was not tested.
    """
    curve = list(zip(steps, average_performance(values).tolist(), strict=True))
    area = area_under_curve([point for point in curve if point[0] > 0], 1, total)[0]
    return area if np.isfinite(area) else None


def areas_of_trained(steps: Sequence[int], values: Table, order: Sequence[int], steps_per_phase: int) -> list[float]:
    """Return the area under the curve of each phase's task while it is trained (P,).

    It is `AUC_i = 1/Delta int p_i(t) dt` over the phase, of Wołczyk et al. (2021), section 4.2. A value holds for the
    steps since the last point. With evenly spaced points this is the mean in their `calculate_forward_transfer`.
    """
    return [
        area_under_curve(
            [(step, value) for step, value in zip(steps, values[:, task].tolist(), strict=True) if step > 0],
            len(order),
            steps_per_phase,
        )[phase]
        for phase, task in enumerate(order)
    ]


# Changes by phase (CORA).


def changes_by_phase(steps: Sequence[int], values: Table, num_phases: int, steps_per_phase: int) -> Table:
    """Return how each phase changed each task (P, T), in units of the largest absolute return on the task.

    Entry [j, i] is `(r_{i,j,end} - r_{i,j-1,end}) / |r_{i,all,max}|` of Powers et al. (2022), section 4. Before phase 0
    stands the untrained agent, the point at step 0. As in their code (`continual_rl/utils/metrics.py`, with
    `USE_ISOLATED_FORGETTING` and `USE_ISOLATED_ZSFT`), the last point of a phase counts, and the maximum is over the
    whole curve. They smooth curves with a rolling mean before, take the maximum over the runs of all seeds, and their
    tables show ten times these values. A point at the end of a phase belongs to that phase; their curves have none.

    Args:
        steps: Steps of the points (K,), ascending.
        values: Mean returns (K, T).
        num_phases: Number of phases that the curve covers.
        steps_per_phase: Steps of each phase.

    Returns:
        The changes; NaN where a value is missing, or all returns on the task are 0.
    """
    at = np.asarray(steps)
    ends = [np.flatnonzero(at <= phase * steps_per_phase) for phase in range(num_phases + 1)]
    missing = np.full(values.shape[1], np.nan)
    rows = np.stack([values[places[-1]] if len(places) else missing for places in ends])
    largest = np.max(np.abs(np.nan_to_num(values)), axis=0)
    changes: Table = np.diff(rows, axis=0) / np.where(largest > 0, largest, np.nan)
    return changes


def isolated_forgetting(changes: Table, order: Sequence[int]) -> Table:
    """Return how much of each task each phase lost (P, T): `F_{i,j}` of Powers et al. (2022), section 4.

    It is positive where the return fell. NaN for tasks that no earlier phase trained. Where tasks come back, a phase
    changes its own task, too, as in their code.
    """
    lost: Table = np.where(_trained_before(changes, order), -changes, np.nan)
    return lost


def zero_shot_transfer(changes: Table, order: Sequence[int]) -> Table:
    """Return how much each phase helped each task that is still to come (P, T): `Z_{i,j}` of Powers et al. (2022).

    NaN for the task of the phase and for tasks that were trained before.
    """
    trained = _trained_before(changes, order)
    trained[np.arange(len(order)), list(order)] = True
    gained: Table = np.where(trained, np.nan, changes)
    return gained


def _trained_before(changes: Table, order: Sequence[int]) -> NDArray[np.bool_]:
    """Return whether each task was trained before each phase (P, T)."""
    trained = np.zeros(changes.shape, dtype=bool)
    for phase, task in enumerate(order):
        trained[phase + 1 :, task] = True
    return trained


def mean_by_cycle(table: Table, order: Sequence[int]) -> list[float | None]:
    """Return the mean entry of the phases of each cycle; cycle k holds the phases that train their task once more.

    Their tables are of cycle 0 (`num_cycles_for_forgetting`).

    Args:
        table: Values (P, T), NaN where there is none.
        order: The task of each phase (P,).

    Returns:
        One mean for each cycle; None for a cycle without a value.
    """
    cycles = np.array([list(order[:phase]).count(task) for phase, task in enumerate(order)])
    means: list[float | None] = []
    for cycle in range(int(cycles.max()) + 1):
        known = table[cycles == cycle]
        known = known[np.isfinite(known)]
        means.append(float(known.mean()) if len(known) else None)
    return means
