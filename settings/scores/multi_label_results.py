"""The results of a run whose samples have several labels: mAP and F1, also by group of labels."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from redwood.core.schema import Json, ListOf, Number, Record, Spec
from redwood.settings.scores.label_sets import ALL
from redwood.settings.scores.measure import LABEL_GROUPS, LABEL_SCORES, MAP, SUFFIXES, Measure
from redwood.settings.scores.results import Draw, Results
from redwood.settings.scores.results_schema import COUNT

_LABEL_SCORES = Record(
    dict.fromkeys(LABEL_SCORES, Record(dict.fromkeys((ALL, *LABEL_GROUPS), Number(0, 1, optional=True)))),
    optional=frozenset(LABEL_SCORES),
)


@dataclass(kw_only=True)
class MultiLabelResults(Results):
    """The outcome of a run that predicts label sets. All accuracies above are mean average precisions (mAP) here.

    The mAP of a task is over the labels that its test samples have. The online score is the mean F1 of single samples.

    Attributes:
        label_groups: The labels of each group, by their counts in training; see `redwood.settings.scores.label_sets`.
        label_scores: After each phase (P,) the scores over all tested samples, `tested`, and over those of each task,
            `tasks` (T,): score -> group -> value. A task that was not tested has none.
    """

    measure: ClassVar[Measure] = MAP
    own_entries: ClassVar[Mapping[str, Spec]] = {
        "label_groups": Record(dict.fromkeys(LABEL_GROUPS, ListOf(COUNT))),
        "label_scores": ListOf(Record({"tested": _LABEL_SCORES, "tasks": ListOf(_LABEL_SCORES)})),
    }

    label_groups: dict[str, list[int]] = field(default_factory=dict)
    label_scores: list[Json] = field(default_factory=list)

    @property
    def map_matrix(self) -> list[list[float | None]]:
        """R (P, T): mAP on task j after phase i."""
        return self.accuracy_matrix

    @property
    @override
    def metrics(self) -> dict[str, float | None]:
        """As everywhere; and map, cf1 and of1 over all tested samples after the last phase, and their forgetting.

        Those of a group, such as `cf1_minority`, are over its labels. The forgetting of a score is the mean over the
        earlier tasks that have such labels.
        """
        values = super().metrics
        if not self.label_scores:
            return values
        last = self.label_scores[-1]["tested"]
        for score, suffix in ((score, suffix) for score in LABEL_SCORES for suffix in SUFFIXES):
            group = suffix.removeprefix("_") or ALL
            values[f"{score}{suffix}"] = last[score][group]
            if score != "map" or suffix:
                values[f"forgetting_{score}{suffix}"] = self._forgetting(self._matrix_of(score, group))
        return values

    @override
    def figures(self) -> Mapping[str, Draw | str]:
        return {"label_groups": "redwood.engine.figures.label_groups:plot_label_groups"}

    def _matrix_of(self, score: str, group: str) -> NDArray[np.float64]:
        """The score on each task after each phase, in the shape of `learned`; NaN where there is none."""
        rows = [[task[score][group] if task else None for task in entry["tasks"]] for entry in self.label_scores]
        return np.array(rows, dtype=np.float64)[:, : self.learned.shape[1]]
