"""Results of OSAKA: the online accuracy, by domain and by the number of steps since the context switched."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from redwood.branches.osaka.contexts import Visits
from redwood.core.schema import ListOf, Number, Record, Spec
from redwood.settings.scores.results import Draw, Results, Rows
from redwood.settings.scores.results_schema import COUNT
from redwood.settings.scores.task_scores import nan_to_none

STEPS_SHOWN = (0, 1, 2, 3, 5, 10, 20, 50)
"""Steps since a switch that a table shows."""
MOST_STEPS = 200
"""Steps since a switch that are kept; later ones add nothing but length."""


@dataclass(kw_only=True)
class OsakaResults(Results):
    """The outcome of an OSAKA run. All accuracies are online: of predictions made before the labels came.

    The matrix has one row, of the stream, and a column for each domain; None where the stream never visited it. The
    objective is the cumulative accuracy, `online_accuracy`: the mean over all steps, whatever their domain;
    `average_accuracy` is the mean over the domains. Metrics that compare several phases are not defined. Pre-training
    is not scored.

    Attributes:
        since_switch: `accuracy` (D, S) on each domain after 0..S-1 further steps since the switch; None where there is
            no such step. `steps` (D, S) is the number of steps in each mean.
    """

    own_entries: ClassVar[Mapping[str, Spec]] = {
        "since_switch": Record(
            {"accuracy": ListOf(ListOf(Number(0, 1, optional=True))), "steps": ListOf(ListOf(COUNT))}
        )
    }
    ranked_by: ClassVar[str] = "online"

    since_switch: dict[str, Any] = field(default_factory=lambda: {"accuracy": [], "steps": []})

    def __post_init__(self) -> None:
        # A run lists pre-training as a phase, on which nothing was tested.
        self.accuracy_matrix = [row for row in self.accuracy_matrix if set(row) != {None}]
        self.num_phases = 1

    @property
    def domains(self) -> list[str]:
        """Name of each domain, the one of pre-training first."""
        return [task["name"] for task in self.config["task_list"]]

    @property
    @override
    def metrics(self) -> dict[str, float | None]:
        values: dict[str, float | None] = dict.fromkeys(self.measure.metrics)
        known = [value for row in self.accuracy_matrix for value in row if value is not None]
        if known:
            values["average_accuracy"] = sum(known) / len(known)
        return values | {"online_accuracy": self._online()}

    @property
    @override
    def objective(self) -> float:
        online = self._online()
        if online is None:
            raise ValueError("Nothing was predicted yet, so the run cannot be ranked.")
        return online

    @override
    def figures(self) -> Mapping[str, Draw | str]:
        return {"accuracy_curve": "redwood.branches.osaka.since_switch:plot_since_switch"}

    @override
    def further_rows(self) -> Sequence[Rows]:
        """The accuracy on each domain by the number of steps since the context switched."""
        accuracy = self.since_switch["accuracy"]
        shown = [step for step in STEPS_SHOWN if any(step < len(row) for row in accuracy)]
        rows = {name: [row[step] for step in shown] for name, row in zip(self.domains, accuracy, strict=True)}
        return [Rows(f"{self.measure.label} by steps since the switch", tuple(map(str, shown)), rows)]


def accuracy_by_domain(hits: Tensor, sizes: Tensor, visits: Visits, num_domains: int) -> list[float | None]:
    """The accuracy on each domain (D,), None where it was not visited.

    Args:
        hits: Right predictions of each step (T,); steps that are yet to come count 0.
        sizes: Predictions of each step (T,).
        visits: The visits of the stream.
        num_domains: Number of domains D.
    """
    domains = visits.domains[visits.of_steps()]
    sums = torch.zeros(2, num_domains, dtype=torch.float64)
    sums.index_add_(1, domains, torch.stack([hits, sizes]).double())
    return nan_to_none(sums[0] / sums[1])


def accuracy_since_switch(hits: Tensor, sizes: Tensor, visits: Visits, num_domains: int) -> dict[str, Any]:
    """The entry `since_switch` of `OsakaResults`; the arguments are those of `accuracy_by_domain`."""
    of_steps = visits.of_steps()
    since = torch.arange(len(of_steps)) - visits.starts[of_steps]
    counted = (since < MOST_STEPS) & (sizes > 0)
    width = int(since[counted].max()) + 1 if bool(counted.any()) else 0
    place = (visits.domains[of_steps] * width + since)[counted]
    sums = torch.zeros(3, num_domains * width, dtype=torch.float64)
    sums.index_add_(1, place, torch.stack([hits, sizes, torch.ones_like(sizes)])[:, counted].double())
    accuracy = (sums[0] / sums[1]).view(num_domains, width)
    return {
        "accuracy": [nan_to_none(row) for row in accuracy],
        "steps": sums[2].long().view(num_domains, width).tolist(),
    }
