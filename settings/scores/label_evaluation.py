"""Score a method that predicts label sets, on test or held-out samples."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from redwood.settings.data.entries import Entries
from redwood.settings.scores.answers import Space
from redwood.settings.scores.evaluation import LabelledSamples, Predictor, label_answers, mixed
from redwood.settings.scores.label_sets import ALL, LabelScores, label_scores
from redwood.settings.scores.task_scores import Scores


@dataclass(frozen=True)
class LabelEvaluation:
    """Scores a method on samples that have several labels.

    Attributes:
        space: The labels.
        groups: The labels of each group; see `label_groups`.
        show_ids: Whether the method is told the task of each sample.
    """

    space: Space
    groups: dict[str, list[int]]
    show_ids: bool

    def by_task(self, method: Predictor, source: LabelledSamples, entries: Entries, tasks: Sequence[int]) -> Scores:
        """MAP on each task, and all scores over all entries and over those of each task; of no entry, none."""
        answers, y = self._answers(method, source, entries), source.labels(entries)
        scores: list[LabelScores] = []
        for task in tasks:
            own = entries.tasks == task
            scores.append(label_scores(answers[own], y[own], self.groups) if bool(own.any()) else {})
        per_task = [one["map"][ALL] if one else None for one in scores]
        return Scores(per_task, details={"tested": label_scores(answers, y, self.groups), "tasks": scores})

    def by_part(
        self, method: Predictor, source: LabelledSamples, parts: Sequence[Entries], seed: int = 0
    ) -> list[float | None]:
        """MAP on each of the parts, or None where it has no label, in one pass; `seed` is of its order."""
        entries, part_of = mixed(parts, seed)
        answers, y = self._answers(method, source, entries), source.labels(entries)
        own = [part_of == number for number in range(len(parts))]
        return [label_scores(answers[of], y[of], self.groups)["map"][ALL] if of.any() else None for of in own]

    def _answers(self, method: Predictor, source: LabelledSamples, entries: Entries) -> Tensor:
        return label_answers(method, source, entries, self.space, show_ids=self.show_ids)
