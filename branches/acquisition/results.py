"""Results of runs that buy samples: the scores of each slice after each round, and the purchases."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from redwood.core.schema import ListOf, Number, Spec, Text
from redwood.settings.scores import metrics
from redwood.settings.scores.results import Draw, Results
from redwood.settings.scores.results_schema import AMOUNT, COUNT


@dataclass(kw_only=True)
class AcquisitionResults(Results):
    """The outcome of an acquisition run: a row of the matrix for each round of buying, a column for each slice.

    Metrics of forgetting and transfer are not defined: every phase trains on all slices.

    Attributes:
        slice_names: Names of the slices (S,).
        slice_costs: Cost of one sample of each slice (S,).
        slice_sizes: Samples of each slice that each phase had (P, S).
        slice_losses: Cross-entropy on the test samples of each slice after each phase (P, S); None where the method
            returned no scores.
        purchases: Samples of each slice that were bought after each phase but the last (P - 1, S).
        spent: Cost of the purchases of each round (P - 1,).
    """

    phase_name: ClassVar[str] = "round"
    rates_classes: ClassVar[bool] = True
    own_entries: ClassVar[Mapping[str, Spec]] = {
        "slice_names": ListOf(Text(empty=True), least=1),
        "slice_costs": ListOf(AMOUNT, least=1),
        "slice_sizes": ListOf(ListOf(COUNT, least=1)),
        "slice_losses": ListOf(ListOf(Number(low=0, optional=True), least=1)),
        "purchases": ListOf(ListOf(COUNT, least=1)),
        "spent": ListOf(AMOUNT),
    }

    slice_names: list[str] = field(default_factory=list)
    slice_costs: list[float] = field(default_factory=list)
    slice_sizes: list[list[int]] = field(default_factory=list)
    slice_losses: list[list[float | None]] = field(default_factory=list)
    purchases: list[list[int]] = field(default_factory=list)
    spent: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        # A file does not hold the number of phases.
        self.num_phases = int(self.config.get("rounds", self.num_phases - 1)) + 1

    @property
    @override
    def learned(self) -> NDArray[np.float64]:
        if not self.accuracy_matrix:
            raise ValueError("No phase has been evaluated yet.")
        return np.array(self.accuracy_matrix, dtype=np.float64)

    @override
    def tasks_seen(self, phase: int) -> int:
        return len(self.accuracy_matrix[0])

    @property
    @override
    def average_curve(self) -> NDArray[np.float64]:
        return np.array(self.learned.mean(1))

    @property
    @override
    def metrics(self) -> dict[str, float | None]:
        values: dict[str, float | None] = dict.fromkeys(self.measure.metrics)
        values["online_accuracy"] = metrics.online_accuracy(self.online_curve)
        if self.tested:
            values["average_accuracy"] = self.objective
            values["average_incremental_accuracy"] = float(self.average_curve.mean())
        return values | self._validation_metrics()

    @property
    @override
    def objective(self) -> float:
        return float(self.learned[-1].mean())

    @override
    def figures(self) -> Mapping[str, Draw | str]:
        return {"accuracy_curve": "redwood.branches.acquisition.purchases:plot_purchases"}
