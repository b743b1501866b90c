"""Results of reinforcement runs: returns instead of accuracies, and scores relative to a single-task reference."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from redwood.core.schema import ANYTHING, Json, ListOf, Number, Spec
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
from redwood.settings.rl.outcomes import EVALUATIONS, Evaluations
from redwood.settings.scores.measure import RETURN, Measure
from redwood.settings.scores.results import Draw, Results

Reference: TypeAlias = dict[str, list[float | None]]  # `returns` (T,) and areas (T,) of a single-task reference


@dataclass(kw_only=True)
class ReturnResults(Results):
    """The outcome of a run in environments: mean returns of episodes stand where `Results` has accuracies.

    `untrained_accuracy` holds the mean return of random actions. The points of `online_curve` are environment steps and
    the mean return of the training episodes that ended since the last point.

    Attributes:
        reference: Results of fresh agents on each task alone, with the same budget: `returns` (T,), and `areas` (T,)
            under their training curves, None for a task in which no episode ended. If both runs have `--eval_every` and
            report successes, also `success_areas` (T,) under its success curves. None if no reference was given.
        evaluations: Returns and successes of the test episodes, and curves; None in files written without them.
    """

    measure: ClassVar[Measure] = RETURN
    own_entries: ClassVar[Mapping[str, Spec]] = {
        "random_return": ListOf(Number(), optional=True),
        "reference": ANYTHING,
    }
    optional_entries: ClassVar[Mapping[str, Spec]] = {"evaluations": EVALUATIONS}

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

    @classmethod
    @override
    def metric_names(cls) -> tuple[str, ...]:
        success = ("average_success", "success_forgetting", "success_forward_transfer", "success_over_time")
        return (*cls.measure.metrics, *success, "return_over_time", "isolated_forgetting", "zero_shot_transfer")

    @override
    def why_undefined(self, name: str) -> str:
        if name not in ("normalised_return", "forward_transfer", "success_forward_transfer"):
            return ""
        if name != "normalised_return" and self.num_phases == 1:
            return "needs a phase per task"
        if self.reference is None:
            return "needs --reference"
        if self.random_return is None:
            return "needs --eval_tasks all"
        pairs = zip(self.reference["returns"], self.random_return, strict=True)
        known = any(single is not None and single > random for single, random in pairs)
        return "" if known else "the reference is no better than random actions"

    @override
    def figures(self) -> Mapping[str, Draw | str]:
        if self.evaluations is None or not self.evaluations.steps:
            return {}
        return {"test_curves": "redwood.engine.figures.tested_curves:plot_test_curves"}

    @property
    @override
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
    def to_dict(self) -> Json:
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

    def _by_phase(self) -> Json:
        """Forgetting and transfer by phase, task and cycle, for readers of `results.json`."""
        found = self.evaluations
        if found is None or self.num_phases == 1 or not self.tested:
            return {}
        losses = forgetting_by_phase(self.learned, self.order)
        entries: dict[str, object] = {"forgetting_by_phase": None if losses is None else plain_values(losses)}
        if found.steps:
            changes = self._changes(found)
            lost = isolated_forgetting(changes, self._trained)
            entries["isolated_forgetting"] = [plain_values(row) for row in lost]
            entries["isolated_forgetting_by_cycle"] = mean_by_cycle(lost, self._trained)
            entries["zero_shot_transfer"] = [plain_values(row) for row in zero_shot_transfer(changes, self._trained)]
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


def plain_values(row: NDArray[np.float64]) -> list[float | None]:
    """Return numbers as results keep them: None where nothing was measured."""
    return [float(value) if math.isfinite(value) else None for value in row]
