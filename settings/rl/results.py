"""What a reinforcement run measured: returns in the place of accuracies, and scores relative to references."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from redwood.settings.measure import RETURN, Measure
from redwood.settings.results import Results
from redwood.settings.rl.metrics import area_under_curve, forgetting, forward_transfer_from_areas, normalised


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
        return int(self.config["steps_per_task"]) * (tasks if self.n_phases == 1 else 1)

    @property
    def areas(self) -> list[float]:
        """Mean training return over the steps of each phase (P,): the area under its curve."""
        return area_under_curve(self.online_curve, self.n_phases, self.steps_per_phase)

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
        if self.reference is None or self.random_return is None or len(gains) < self.n_phases or self.n_phases == 1:
            return None
        # Areas of the run are per phase, those of the reference per task.
        trained = range(self.n_phases) if self.order is None else self.order
        random, references, single = (
            [values[task] for task in trained]
            for values in (self.random_return, self.reference["returns"], self.reference["areas"])
        )
        return forward_transfer_from_areas(
            normalised(self.areas, random, references), normalised(single, random, references)
        )
