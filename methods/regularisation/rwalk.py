"""Riemannian walk (Chaudhry et al., 2018, "Riemannian Walk for Incremental Learning")."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from redwood.core.checks import check_range
from redwood.methods.base import Composition
from redwood.methods.regularisation.importance import WeightImportance
from redwood.methods.regularisation.path_importance import UNUSED, PathImportance
from redwood.methods.regularisation.quadratic_penalty import IMPORTANCE, ONE_IMPORTANCE, Weights


@dataclass
class RWalk(WeightImportance):
    """Penalise changes of weights that predictions depend on, and of weights whose short steps lowered the loss.

    Both are measured in training, without a pass over the task's data (section 4). Every few steps the mean square of
    the batches' gradients enters a running Fisher information F with weight alpha. At the same time the score of each
    weight grows by a ratio. Its numerator is the weight's part in the drop of the loss since the last update. Its
    denominator is half F times the square of the weight's movement, plus epsilon. At a task's end the score s is
    averaged with that of earlier tasks.

    The penalty is `lambda * sum_i (F_i + s_i) (w_i - w*_i)^2`, each of F and s scaled to a maximum of 1, with the
    weights `w*` after the latest task. Its strength is bounded (`effective_strength`).
    """

    composition: ClassVar[Composition] = Composition.ANYWHERE
    multi_label: ClassVar[bool] = True
    brings: ClassVar[frozenset[str]] = IMPORTANCE
    bars: ClassVar[Mapping[str, str]] = ONE_IMPORTANCE
    unused_options: ClassVar[Mapping[str, str]] = UNUSED

    rwalk_lambda: float = 10.0  # strength of the penalty
    rwalk_alpha: float = 0.9  # weight of the newest steps in the running Fisher information
    rwalk_epsilon: float = 0.001  # added to the distance that a weight's part in the drop of the loss is divided by
    rwalk_interval: int = 10  # steps after which Fisher information and scores are updated

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "rwalk_lambda", 0)
        check_range(self, "rwalk_alpha", 0, 1)
        check_range(self, "rwalk_epsilon", 1e-12)
        check_range(self, "rwalk_interval", 1)

    @property
    @override
    def strength(self) -> float:
        return 2 * self.rwalk_lambda  # a curvature is twice the factor of the square

    @override
    def make_measure(self) -> "RiemannianPath":
        return RiemannianPath(self)

    @override
    def consolidate(self, importance: Weights) -> None:
        # The importance of earlier tasks is part of the new one.
        self.move_penalty(importance, decay=0.0)


class RiemannianPath(PathImportance):
    """Measures a running Fisher information, and the score of the weights' steps; see `RWalk`."""

    def __init__(self, method: RWalk) -> None:
        super().__init__(method)
        self._alpha, self._epsilon, self._interval = method.rwalk_alpha, method.rwalk_epsilon, method.rwalk_interval
        self.fisher = self.add_state("fisher", self.zeros(), buffer=True)
        self.gained = self.add_state("gained", self.zeros(), buffer=True)
        self.score = self.add_state("score", self.zeros(), buffer=True)
        self.squares = self.add_state("squares", self.zeros(), buffer=True)  # since the interval began, like `steps`
        self.begun = self.add_state("begun", self.copied_weights(), buffer=True)
        self.steps = self.add_state("steps", 0)
        self.intervals = self.add_state("intervals", 0)
        self.tasks = self.add_state("tasks", 0)

    @override
    def start_path(self) -> None:
        super().start_path()
        self.squares, self.steps = self.zeros(), 0
        self.begun = self.copied_weights()

    @override
    def note_step(self, name: str, gradient: Tensor, moved: Tensor) -> None:
        super().note_step(name, gradient, moved)
        self.squares[name] = self.squares[name] + gradient.square()

    @override
    def after_step(self) -> None:
        super().after_step()
        self.steps += 1
        if self.steps == self._interval:
            self._end_interval()

    def _end_interval(self) -> None:
        newest = self._alpha if self.intervals else 1.0
        for name, parameter in self.method.trained_weights():
            self.fisher[name] = newest * self.squares[name] / self.steps + (1 - newest) * self.fisher[name]
            distance = self.fisher[name] * (parameter.detach() - self.begun[name]).square() / 2
            gained = self.path[name].clamp(min=0) / (distance + self._epsilon)
            self.gained[name] = self.gained[name] + gained
        self.intervals += 1
        self.start_path()

    @override
    def importance(self) -> Weights:
        if self.steps:
            self._end_interval()
        share = 0.5 if self.tasks else 1.0
        for name, gained in self.gained.items():
            self.score[name] = share * gained + (1 - share) * self.score[name]
        self.gained = self.zeros()
        self.tasks += 1
        fisher, score = by_maximum(self.fisher), by_maximum(self.score)
        return {name: fisher[name] + score[name] for name in fisher}


def by_maximum(weights: Weights) -> Weights:
    """The values divided by the largest of all values; zeros stay zeros."""
    largest = torch.stack([value.max() for value in weights.values()]).max()
    return {name: value / largest.clamp(min=torch.finfo(value.dtype).tiny) for name, value in weights.items()}
