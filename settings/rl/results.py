"""Results of reinforcement runs: returns instead of accuracies, and scores relative to a single-task reference."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from redwood.core.errors import InvalidOptionError
from redwood.settings.results import Results
from redwood.settings.scores.measure import RETURN, Measure

Vector: TypeAlias = Sequence[float] | Sequence[float | None] | NDArray[np.float64]
Reference: TypeAlias = dict[str, list[float | None]]  # `returns` (T,) and `areas` (T,) of a single-task reference

# Metrics.


def normalised(returns: Vector, random: Vector, reference: Vector) -> NDArray[np.float64]:
    """Scale returns (T,) such that random actions get 0 and the single-task reference gets 1.

    A task on which the reference is no better than random actions gets NaN.
    """
    span = np.asarray(reference, dtype=np.float64) - np.asarray(random, dtype=np.float64)
    scale = np.where(span > 0, span, np.nan)
    return np.asarray((np.asarray(returns, dtype=np.float64) - np.asarray(random, dtype=np.float64)) / scale)


def forgetting(R: Sequence[Sequence[float]] | NDArray[np.float64], order: Sequence[int] | None = None) -> float | None:
    """Return the mean over phases of the return that the phase's task has lost since.

    It is `F = 1/P sum_i (R[i, c_i] - R[P-1, c_i])` of Wołczyk et al. (2021), section 4.2. The last phase counts as 0. A
    task that comes back counts once for each of its phases, as in their sequence CW20.

    Args:
        R: Mean returns (P, T).
        order: The task `c` (P,) of each phase; by default phase i trains task i, and P is 1 or T.

    Returns:
        The mean, negative if earlier tasks improved; None if one phase trained several tasks (P = 1 < T).
    """
    matrix = np.asarray(R, dtype=np.float64)
    if len(matrix) < matrix.shape[1]:
        return None
    trained = np.arange(len(matrix)) if order is None else np.asarray(order)
    return float((matrix[np.arange(len(matrix)), trained] - matrix[-1, trained]).mean())


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


# Results.


@dataclass(kw_only=True)
class ReturnResults(Results):
    """The outcome of a run in environments: mean returns of episodes stand where `Results` has accuracies.

    `untrained_accuracy` holds the mean return of random actions. The points of `online_curve` are environment steps and
    the mean return of the training episodes that ended since the last point.

    Attributes:
        reference: Results of a fresh agent on each task alone, with the same budget: `returns` (T,), and `areas` (T,)
            under its training curves, None for a task in which no episode ended. None if no reference was given.
    """

    measure: ClassVar[Measure] = RETURN
    own_entries: ClassVar[tuple[str, ...]] = ("random_return", "reference")

    reference: Reference | None = None

    @property
    def return_matrix(self) -> list[list[float | None]]:
        """R (P, T): the mean return on task j after phase i."""
        return self.accuracy_matrix

    @property
    def random_return(self) -> list[float] | None:
        """Mean return (T,) of random actions."""
        return self.untrained_accuracy

    @random_return.setter
    def random_return(self, value: list[float] | None) -> None:
        self.untrained_accuracy = value

    @property
    def metrics(self) -> dict[str, float | None]:
        """The metrics of `Results`, with forgetting and forward transfer of Continual World, and the normalised return.

        Forgetting is in the unit of returns. Forward transfer and the normalised return are None without a reference. A
        task does not count for them if the reference is no better than random actions.
        """
        return super().metrics | {"normalised_return": self._normalised_return()}

    @property
    def steps_per_phase(self) -> int:
        """Environment steps that each phase may take, over all workers."""
        tasks = len(self.config.get("tasks") or self.accuracy_matrix[0])
        return int(self.config["steps_per_task"]) * (tasks if self.num_phases == 1 else 1)

    @property
    def areas(self) -> list[float]:
        """Mean training return over the steps of each phase (P,): the area under its curve."""
        return area_under_curve(self.online_curve, self.num_phases, self.steps_per_phase)

    @property
    @override
    def tuning_curve(self) -> list[float | None]:
        """The mean return in training up to each phase (P,): no episodes are held out."""
        so_far = (np.array(self.areas[: phase + 1]) for phase in range(len(self.accuracy_matrix)))
        return [float(np.nanmean(areas)) if np.isfinite(areas).any() else None for areas in so_far]

    def _normalised_return(self) -> float | None:
        if self.reference is None or self.random_return is None or not self.tested:
            return None
        last = self.learned[-1]
        n = len(last)
        scores = normalised(last, self.random_return[:n], self.reference["returns"][:n])
        known = scores[np.isfinite(scores)]
        return float(known.mean()) if len(known) else None

    @override
    def _forgetting(self, gains: NDArray[np.float64]) -> float | None:
        return forgetting(gains, self.order)

    @override
    def _forward_transfer(self, gains: NDArray[np.float64]) -> float | None:
        if self.reference is None or self.random_return is None or len(gains) < self.num_phases or self.num_phases == 1:
            return None
        # The run has an area per phase, the reference has an area per task.
        trained = range(self.num_phases) if self.order is None else self.order
        random, references, single = (
            [values[task] for task in trained]
            for values in (self.random_return, self.reference["returns"], self.reference["areas"])
        )
        return forward_transfer_from_areas(
            normalised(self.areas, random, references), normalised(single, random, references)
        )


# The single-task reference.

SAME = ("env", "steps_per_task", "attributes", "task_noise", "tasks", "max_episode_steps")  # they decide the tasks


def read_reference(folder: Path, seed: int, order: Sequence[int], options: Mapping[str, object]) -> Reference:
    """Read the results of a fresh agent on each task.

    Args:
        folder: A run, or a folder of runs. Of the latter, only runs of a method joined to `scratch` count.
        seed: Seed of the run that is to be compared; the reference has the same.
        order: The task of each phase.
        options: Options of the setting, as results keep them.

    Returns:
        Returns and areas of each task, in the phase in which the agent met the task first.

    Raises:
        InvalidOptionError: If there is no such run, there are several, or it had other tasks.
    """
    results = _run_of_reference(folder, seed)
    if (results.phase_tasks or list(range(results.num_phases))) != order or len(results.accuracy_matrix) != len(order):
        raise InvalidOptionError(
            f"--reference {folder} has {results.num_phases} phases, but {len(order)} tasks need one phase each; "
            "run the reference under incremental_rl."
        )
    for name in SAME:
        if results.config.get(name) != options[name]:
            raise InvalidOptionError(
                f"--reference {folder} was run with --{name} {results.config.get(name)}, "
                f"this run has {options[name]}; make them equal."
            )
    first = [order.index(task) for task in range(max(order) + 1)]
    areas = [results.areas[phase] for phase in first]
    return {
        "returns": [results.accuracy_matrix[phase][task] for task, phase in enumerate(first)],
        "areas": [area if math.isfinite(area) else None for area in areas],
    }


def _run_of_reference(folder: Path, seed: int) -> ReturnResults:
    named = folder / "results.json"
    files = [named] if named.exists() else sorted(folder.glob("*/results.json"))
    found = [results for results in map(Results.load, files) if isinstance(results, ReturnResults)]
    if not named.exists():
        found = [results for results in found if "scratch" in results.method.split("+")]
    if not found:
        raise InvalidOptionError(
            f"--reference {folder} holds no results of fresh agents; name the folder of a finished run, "
            "such as one of --setting incremental_rl --method ppo+scratch."
        )
    alike = [results for results in found if results.seed == seed]
    if not alike:
        raise InvalidOptionError(
            f"--reference {folder} holds no run with --seed {seed}, which decides the tasks; run it with that."
        )
    if len(alike) > 1:
        methods = ", ".join(results.method for results in alike)
        raise InvalidOptionError(
            f"--reference {folder} holds several runs with --seed {seed} ({methods}); name the folder of one."
        )
    return alike[0]
