"""What a reinforcement run measured: returns in the place of accuracies, and scores relative to references."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from redwood.core.errors import InvalidOptionError
from redwood.settings.measure import RETURN, Measure
from redwood.settings.results import Results

if TYPE_CHECKING:
    from redwood.settings.rl.setting import ReinforcementSetting


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


def area_under_curve(curve: Sequence[tuple[int, float]], num_phases: int, steps_per_phase: int) -> list[float]:
    """The mean over the steps of each phase of a curve that holds each value back to the point before: (P,).

    Args:
        curve: Points (steps so far, mean return since the point before), one at the end of each phase that has any.
        num_phases: Phases.
        steps_per_phase: Steps of each.

    Returns:
        NaN for a phase without a point.
    """
    if not curve:
        return [float("nan")] * num_phases
    steps, values = np.array(curve, dtype=np.float64).T
    phases = (steps - 1) // steps_per_phase
    # The first point of a phase is of the steps since the phase began, whatever the point before it is of.
    begins = np.maximum(np.concatenate([[0.0], steps[:-1]]), phases * steps_per_phase)
    widths = steps - begins
    return [
        float(np.average(values[phases == phase], weights=widths[phases == phase]))
        if (phases == phase).any()
        else np.nan
        for phase in range(num_phases)
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


@dataclass(kw_only=True)
class ReturnResults(Results):
    """The outcome of a run in environments: what is said of accuracies above is about mean returns of episodes here.

    `untrained_accuracy` holds the mean return of random actions, and `online_curve` points (environment steps, mean
    return of the training episodes that ended since the point before).

    Attributes:
        reference: What a fresh agent reaches on each task alone, with the same budget: `returns` (T,), and the `areas`
            (T,) under its curves of training returns, None where no episode ended; None if no reference was given.
    """

    measure: ClassVar[Measure] = RETURN
    own_entries: ClassVar[tuple[str, ...]] = ("random_return", "reference")

    reference: dict[str, list[float | None]] | None = None

    @property
    def return_matrix(self) -> list[list[float | None]]:
        """R (P, T): mean return on task j after phase i."""
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
        """As of accuracies, but for forgetting and forward transfer, which are Continual World's, and one more.

        Forgetting is in the unit of returns. Forward transfer and the normalised return are None without a reference; a
        task on which that is no better than random actions does not count.
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

    def _normalised_return(self) -> float | None:
        if self.reference is None or self.random_return is None or not self.accuracy_matrix:
            return None
        last = self.learned[-1]
        n = len(last)
        scores = normalised(last, self.random_return[:n], self.reference["returns"][:n])
        known = scores[np.isfinite(scores)]
        return float(known.mean()) if len(known) else None

    def _forgetting(self, gains: NDArray[np.float64]) -> float | None:
        return forgetting(gains, self.order)

    def _forward_transfer(self, gains: NDArray[np.float64]) -> float | None:
        if self.reference is None or self.random_return is None or len(gains) < self.num_phases or self.num_phases == 1:
            return None
        # Areas of the run are per phase, those of the reference per task.
        trained = range(self.num_phases) if self.order is None else self.order
        random, references, single = (
            [values[task] for task in trained]
            for values in (self.random_return, self.reference["returns"], self.reference["areas"])
        )
        return forward_transfer_from_areas(
            normalised(self.areas, random, references), normalised(single, random, references)
        )


# What decides the tasks; a reference with other ones would be one for something else.
SAME = ("env", "steps_per_task", "attributes", "task_noise", "tasks", "max_episode_steps")


def read_reference(setting: "ReinforcementSetting") -> dict[str, list[float | None]]:
    """Returns and areas of the run that `setting.reference` names, or of the one in that folder with the same seed.

    In a folder of runs, only those with a method joined to `scratch` count; one that is named itself may have any.

    Raises:
        InvalidOptionError: If there is none, there are several, or it had other tasks.
    """
    folder = Path(setting.reference)
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
    alike = [results for results in found if results.seed == setting.seed]
    if not alike:
        raise InvalidOptionError(
            f"--reference {folder} holds no run with --seed {setting.seed}, which decides the tasks; run it with that."
        )
    if len(alike) > 1:
        methods = ", ".join(results.method for results in alike)
        raise InvalidOptionError(
            f"--reference {folder} holds several runs with --seed {setting.seed} ({methods}); name the folder of one."
        )
    results = alike[0]
    order = setting.order
    if (results.phase_tasks or list(range(results.num_phases))) != order or len(results.accuracy_matrix) != len(order):
        raise InvalidOptionError(
            f"--reference {folder} has {results.num_phases} phases, but {len(order)} tasks need one phase each; "
            "run the reference under incremental_rl."
        )
    own = setting.described()
    for name in SAME:
        if results.config.get(name) != own[name]:
            raise InvalidOptionError(
                f"--reference {folder} was run with --{name} {results.config.get(name)}, this run has {own[name]}; "
                "make them equal."
            )
    # Of a task that comes back, a fresh agent that met it first.
    first = [order.index(task) for task in range(setting.num_tasks)]
    areas = [results.areas[phase] for phase in first]
    return {
        "returns": [results.accuracy_matrix[phase][task] for task, phase in enumerate(first)],
        "areas": [area if math.isfinite(area) else None for area in areas],
    }
