"""The columns of a table of predictions, and how good these are where there are labels."""

from collections.abc import Sequence

import torch
from gymnasium.spaces import Box, MultiBinary
from torch import Tensor

from redwood.core.errors import NotApplicableError
from redwood.experiments.trained.model import TrainedModel
from redwood.methods.lightning import LightningMethod
from redwood.settings.data.arrays import Samples
from redwood.settings.data.dataset import task_order

SHOWN = "{:.6g}".format


class PredictionColumns:
    """The columns of each sample in a table: its class and the probability or score of this class, or numbers.

    Attributes:
        names: The names of the columns.
    """

    def __init__(self, model: TrainedModel, x: Samples, task_id: Tensor | int | None, all_scores: bool) -> None:
        """Find out what the model answers with, by the first of the samples.

        Args:
            model: A loaded run.
            x: The samples (n, ...).
            task_id: Task of each sample (n,), or of all of them, where the model takes it.
            all_scores: Whether the scores of all classes are columns, too.

        Raises:
            NotApplicableError: If all scores are asked for, and the model has none.
        """
        self._model, self._space = model, model.setting.action_space
        first = x[torch.arange(1)], task_id[:1] if isinstance(task_id, Tensor) else task_id
        try:
            model.scores(*first)
            self._has_scores = True
        except NotApplicableError:
            self._has_scores = False
            if all_scores:
                raise
        self._all_scores, self._classes = all_scores, model.class_names
        # Trained by cross-entropy, a network's outputs are logarithms of probabilities.
        trained_so = isinstance(model.method, LightningMethod) and model.method.predicts_by_network()
        self._probabilities = self._has_scores and trained_so
        self.names = self._named(model.predict(*first))

    def _named(self, answer: Tensor) -> list[str]:
        if isinstance(self._space, Box):
            return ["prediction"] if answer.dim() == 1 else [f"prediction_{i}" for i in range(answer.shape[1])]
        if isinstance(self._space, MultiBinary):
            names = ["labels"]
        elif self._has_scores:
            names = ["class", "probability" if self._probabilities else "score"]
        else:
            names = ["class"]
        return names + [f"score of {name}" for name in self._classes if self._all_scores]

    def of(self, x: Tensor, task_id: Tensor | int | None) -> tuple[Tensor, list[Sequence[object]]]:
        """The decisions for samples (n, ...), as `TrainedModel.predict` returns them, and the columns of their rows."""
        if not self._has_scores:
            answer = self._model.predict(x, task_id)
            return answer, self._without_scores(answer)
        scores = self._model.scores(x, task_id)
        further = [list(map(SHOWN, column)) for column in scores.T.tolist()] if self._all_scores else []
        if isinstance(self._space, MultiBinary):
            return scores > 0, [self._label_sets(scores > 0), *further]
        best, answer = (scores.softmax(1) if self._probabilities else scores).max(1)
        return answer, [self._class_names(answer), list(map(SHOWN, best.tolist())), *further]

    def _without_scores(self, answer: Tensor) -> list[Sequence[object]]:
        if isinstance(self._space, MultiBinary):
            return [self._label_sets(answer)]
        if not isinstance(self._space, Box):
            return [self._class_names(answer)]
        return [list(map(SHOWN, column)) for column in answer.reshape(len(answer), -1).T.tolist()]

    def _class_names(self, answer: Tensor) -> list[str]:
        return [self._classes[output] for output in answer.tolist()]

    def _label_sets(self, answer: Tensor) -> list[str]:
        return ["; ".join(self._classes[label] for label in row.nonzero().flatten().tolist()) for row in answer]


class Quality:
    """Tells how good predictions are: the accuracy of classes, or the root mean squared error of numbers."""

    def __init__(self, model: TrainedModel, labels: Sequence[str] | Tensor | None, groups: Sequence[str] = ()) -> None:
        """Start with no prediction.

        Args:
            model: A loaded run.
            labels: Names of classes, or targets (n,) or (n, d); None and label sets are not compared.
            groups: The name of each sample's task (n,), for a score of each task; empty: there are none.
        """
        self._unknown, self._groups = 0, groups
        self._scores: list[float] = []  # of each sample: 1 if it is right and else 0, or the squared error
        self._names = model.classes_by_output
        self._known = known = frozenset().union(*self._names)
        is_box = isinstance(model.setting.action_space, Box)
        self._targets = labels if isinstance(labels, Tensor) and is_box else None
        self._classes = labels if labels is not None and not isinstance(labels, Tensor) and not is_box else None
        shared = model.setting.assumptions.shared_outputs and not model.signature.class_names
        self._comparable = self._classes is None or (not shared and not known.isdisjoint(self._classes))

    def add(self, answer: Tensor, start: int) -> None:
        """Compare the decisions for the samples from number `start` on."""
        stop = start + len(answer)
        if self._targets is not None:
            errors = answer.reshape(len(answer), -1) - self._targets[start:stop].reshape(len(answer), -1)
            self._scores += errors.square().mean(1).tolist()
        elif self._classes is not None:
            labels = self._classes[start:stop]
            self._unknown += sum(label not in self._known for label in labels)
            pairs = zip(answer.tolist(), labels, strict=True)
            self._scores += [float(label in self._names[output]) for output, label in pairs]

    def sentence(self) -> str:
        """Return the quality in words, to follow the number of predictions, and a line for each task of several.

        Empty without labels to compare with.
        """
        if not self._comparable:
            return ", without an accuracy: no label is the name of a class of the model"
        if not self._scores:
            return ""
        others = f"; {self._unknown} of them are of no class of the model" if self._unknown else ""
        return f", {self._in_words(self._scores)}{others}{self._by_group()}"

    def _by_group(self) -> str:
        """A line for each task of several, in the order of tasks."""
        scores: dict[str, list[float]] = {}
        for group, score in zip(self._groups, self._scores, strict=False):
            scores.setdefault(group, []).append(score)
        groups = sorted(scores, key=task_order)
        lines = [f"\n  {group}: {self._in_words(scores[group])} of {len(scores[group])}" for group in groups]
        return "".join(lines) if len(scores) > 1 else ""

    def _in_words(self, scores: Sequence[float]) -> str:
        mean = sum(scores) / len(scores)
        return f"accuracy {100 * mean:.2f} %" if self._targets is None else f"RMSE {mean**0.5:.4g}"
