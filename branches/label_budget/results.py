"""Results of runs that ask for labels: those of their data, and how many labels were asked for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from typing_extensions import override

from redwood.core.schema import ListOf, Spec
from redwood.settings.scores.multi_label_results import MultiLabelResults
from redwood.settings.scores.results import Draw, RegressionResults, Results
from redwood.settings.scores.results_schema import COUNT

_LABELS: Mapping[str, Spec] = {"labels_used": ListOf(ListOf(COUNT))}


@dataclass(kw_only=True)
class LabelBudgetResults(Results):
    """The outcome of a run that predicts classes, and asks for labels.

    Attributes:
        labels_used: Labels that were asked for (P, points) by each point of the online curve, counted in each phase.
    """

    own_entries: ClassVar[Mapping[str, Spec]] = _LABELS

    labels_used: list[list[int]] = field(default_factory=list)

    @override
    def figures(self) -> Mapping[str, Draw | str]:
        return {**super().figures(), "label_curve": "redwood.branches.label_budget.label_curve:plot_label_curve"}


@dataclass(kw_only=True)
class LabelBudgetRegressionResults(LabelBudgetResults, RegressionResults):
    """The same of a run that predicts numbers."""


@dataclass(kw_only=True)
class LabelBudgetMultiLabelResults(LabelBudgetResults, MultiLabelResults):
    """The same of a run that predicts label sets."""

    own_entries: ClassVar[Mapping[str, Spec]] = {**MultiLabelResults.own_entries, **_LABELS}


RESULTS: Mapping[str, type[LabelBudgetResults]] = {
    "classes": LabelBudgetResults,
    "regression": LabelBudgetRegressionResults,
    "multi_label": LabelBudgetMultiLabelResults,
}
