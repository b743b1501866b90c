"""Results of reinforcement runs: returns instead of accuracies, and scores relative to a single-task reference."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from redwood.core.errors import InvalidOptionError
from redwood.settings.results import Results
from redwood.settings.rl.metrics import (
    area_under_curve,
    areas_of_trained,
    changes_by_phase,
    forgetting,
    forgetting_by_phase,
    forward_transfer_from_areas,
    isolated_forgetting,
    mean_by_cycle,
    normalised,
    performance_over_time,
    zero_shot_transfer,
)
from redwood.settings.rl.outcomes import Evaluations
from redwood.settings.scores.measure import RETURN, Measure

Reference: TypeAlias = dict[str, list[float | None]]  # `returns` (T,) and areas (T,) of a single-task reference


@dataclass(kw_only=True)
class ReturnResults(Results):
    """The outcome of a run in environments: mean returns of episodes stand where `Results` has accuracies.

    `untrained_accuracy` holds the mean return of random actions. The points of `online_curve` are environment steps and
    the mean return of the training episodes that ended since the last point.

    Attributes:
        reference: Results of a fresh agent on each task alone, with the same budget: `returns` (T,), and `areas` (T,)
            under its training curves, None for a task in which no episode ended. If both runs have `--eval_every` and
            report successes, also `success_areas` (T,) under its success curves. None if no reference was given.
        evaluations: Returns and successes of the test episodes, and curves; None in files written without them.
    """

    measure: ClassVar[Measure] = RETURN
    own_entries: ClassVar[tuple[str, ...]] = ("random_return", "reference")
    optional_entries: ClassVar[tuple[str, ...]] = ("evaluations",)

    reference: Reference | None = None
    evaluations: Evaluations | None = None

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

        Where environments report successes, Continual World's metrics of success rates are added. With `--eval_every`,
        means over time and CORA's metrics are added (see `redwood.settings.rl.metrics`).
        """
        further = {} if self.evaluations is None else self._success_metrics() | self._curve_metrics()
        return super().metrics | {"normalised_return": self._normalised_return()} | further

    @property
    def steps_per_phase(self) -> int:
        """Environment steps that each phase may take, over all workers."""
        visits = len(self.config.get("tasks") or self.accuracy_matrix[0])
        # Environments that come back are tasks that come back.
        visits = max(visits, len(self.dataset.split(",")))
        return int(self.config["steps_per_task"]) * (visits if self.num_phases == 1 else 1)

    @property
    def areas(self) -> list[float]:
        """Mean training return over the steps of each phase (P,): the area under its curve."""
        return area_under_curve(self.online_curve, self.num_phases, self.steps_per_phase)

    @property
    def success_areas(self) -> list[float] | None:
        """Area under the success curve of each phase's task while it is trained (P,); None if it was not measured."""
        found = self.evaluations
        if found is None or not found.steps or not found.reports_success:
            return None
        return areas_of_trained(found.steps, found.values("curve_success"), self._trained, self.steps_per_phase)

    @property
    def _trained(self) -> Sequence[int]:
        """The task of each phase so far."""
        return self.order or range(len(self.accuracy_matrix))

    @property
    @override
    def tuning_curve(self) -> list[float | None]:
        """The mean return in training up to each phase (P,): no episodes are held out."""
        so_far = (np.array(self.areas[: phase + 1]) for phase in range(len(self.accuracy_matrix)))
        return [float(np.nanmean(areas)) if np.isfinite(areas).any() else None for areas in so_far]

    @override
    def to_dict(self) -> dict[str, Any]:
        content = super().to_dict()
        if self.evaluations is not None:
            content["evaluations"] = self.evaluations.to_dict() | self._by_phase()
        return content

    @override
    def _load_entry(self, name: str, value: Any) -> None:
        super()._load_entry(name, Evaluations.from_dict(value) if name == "evaluations" else value)

    def _success_metrics(self) -> dict[str, float | None]:
        found = self.evaluations
        if found is None or not found.reports_success:
            return {}
        success = found.values("success")[:, : self.tasks_seen(len(self.accuracy_matrix) - 1)]
        return {
            "average_success": float(success[-1].mean()),
            "success_forgetting": forgetting(success, self.order),
            "success_forward_transfer": self._success_transfer(),
        }

    def _success_transfer(self) -> float | None:
        own, single = self.success_areas, (self.reference or {}).get("success_areas")
        if own is None or single is None or self.num_phases == 1 or len(own) < self.num_phases:
            return None
        return forward_transfer_from_areas(own, [single[task] for task in self._trained])

    def _curve_metrics(self) -> dict[str, float | None]:
        found = self.evaluations
        if found is None or not found.steps:
            return {}
        total = len(self.accuracy_matrix) * self.steps_per_phase
        metrics = {"return_over_time": performance_over_time(found.steps, found.values("curve_return"), total)}
        if found.reports_success:
            metrics["success_over_time"] = performance_over_time(found.steps, found.values("curve_success"), total)
        if self.num_phases == 1:
            return metrics
        changes = self._changes(found)
        lost, gained = isolated_forgetting(changes, self._trained), zero_shot_transfer(changes, self._trained)
        return metrics | {
            "isolated_forgetting": mean_by_cycle(lost, self._trained)[0],
            "zero_shot_transfer": mean_by_cycle(gained, self._trained)[0],
        }

    def _changes(self, found: Evaluations) -> NDArray[np.float64]:
        phases = len(self.accuracy_matrix)
        return changes_by_phase(found.steps, found.values("curve_return"), phases, self.steps_per_phase)

    def _by_phase(self) -> dict[str, Any]:
        """Forgetting and transfer by phase, task and cycle, for readers of `results.json`."""
        found = self.evaluations
        if found is None or self.num_phases == 1 or not self.tested:
            return {}
        losses = forgetting_by_phase(self.learned, self.order)
        entries: dict[str, Any] = {"forgetting_by_phase": None if losses is None else _plain(losses)}
        if found.steps:
            changes = self._changes(found)
            lost = isolated_forgetting(changes, self._trained)
            entries["isolated_forgetting"] = [_plain(row) for row in lost]
            entries["isolated_forgetting_by_cycle"] = mean_by_cycle(lost, self._trained)
            entries["zero_shot_transfer"] = [_plain(row) for row in zero_shot_transfer(changes, self._trained)]
        return entries

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


def _plain(row: NDArray[np.float64]) -> list[float | None]:
    return [float(value) if math.isfinite(value) else None for value in row]


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
    if options["eval_every"] and results.config.get("eval_every") not in (None, 0, options["eval_every"]):
        raise InvalidOptionError(
            f"--reference {folder} was run with --eval_every {results.config['eval_every']}, this run has "
            f"{options['eval_every']}; make them equal, so that areas under curves compare."
        )
    first = [order.index(task) for task in range(max(order) + 1)]
    successes = results.success_areas
    return {
        "returns": [results.accuracy_matrix[phase][task] for task, phase in enumerate(first)],
        "areas": _plain(np.array([results.areas[phase] for phase in first])),
        **({} if successes is None else {"success_areas": _plain(np.array([successes[phase] for phase in first]))}),
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
