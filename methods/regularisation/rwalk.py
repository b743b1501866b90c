"""Riemannian walk (Chaudhry et al., 2018, "Riemannian Walk for Incremental Learning")."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from redwood.core.checks import check_range
from redwood.methods.base import Composition
from redwood.methods.regularisation.path_importance import PathImportance
from redwood.methods.regularisation.quadratic_penalty import Weights, bytes_of
from redwood.settings.base import Setting

# What the state holds beside the parabola and the path, by weight.
KEPT = ("fisher", "squares", "begun", "gained", "score")


@dataclass
class RWalk(PathImportance):
    """Hold on to the weights that the predictions depend on, and to those that lowered the loss by short moves.

    Both are measured in training, without a pass over the task's data (section 4). Every few steps the mean square of
    the batches' gradients enters a running Fisher information F with weight alpha, and the score of each weight grows
    by its part in the drop of the loss since the last time, divided by half F times the square of its movement, plus
    epsilon. At a task's end the score s is averaged with that of earlier tasks. The penalty is lambda * sum_i
    (F_i + s_i) (w_i - w*_i)^2, each of F and s scaled to a maximum of 1, with the weights w* after the latest task, as
    far as steps of the learning rate can follow it (`effective_strength`).
    """

    composition: ClassVar[Composition] = Composition.ANYWHERE
    state_key: ClassVar[str] = "rwalk"

    rwalk_lambda: float = 10.0  # strength of the penalty
    rwalk_alpha: float = 0.9  # weight of the newest steps in the running Fisher information
    rwalk_epsilon: float = 0.001  # added to the distance that a weight's part in the drop of the loss is divided by
    rwalk_interval: int = 10  # steps after which Fisher information and scores are updated

    def __post_init__(self) -> None:
        """Refuse options that are out of range."""
        super().__post_init__()
        check_range(self, "rwalk_lambda", 0)
        check_range(self, "rwalk_alpha", 0, 1)
        check_range(self, "rwalk_epsilon", 1e-12)
        check_range(self, "rwalk_interval", 1)

    @property
    def strength(self) -> float:
        """2 lambda: a curvature is twice the factor of the square."""
        return 2 * self.rwalk_lambda

    def configure(self, setting: Setting) -> None:
        """Build the network; its weights are where the path begins."""
        super().configure(setting)
        self.fisher, self.gained, self.score = self._zeros(), self._zeros(), self._zeros()
        self.intervals, self.tasks = 0, 0

    def _zeros(self) -> Weights:
        return {name: torch.zeros_like(p) for name, p in self.trained_weights()}

    def start_path(self) -> None:
        """Begin a new interval."""
        super().start_path()
        self.squares, self.steps = self._zeros(), 0
        self.begun: Weights = {name: p.detach().clone() for name, p in self.trained_weights()}

    def note_step(self, name: str, gradient: Tensor, moved: Tensor) -> None:
        """Take in one step of a parameter."""
        super().note_step(name, gradient, moved)
        self.squares[name] = self.squares[name] + gradient.square()

    def after_step(self) -> None:
        """End the interval if it is long enough."""
        super().after_step()
        self.steps += 1
        if self.steps == self.rwalk_interval:
            self._end_interval()

    def _end_interval(self) -> None:
        newest = self.rwalk_alpha if self.intervals else 1.0
        for name, parameter in self.trained_weights():
            self.fisher[name] = newest * self.squares[name] / self.steps + (1 - newest) * self.fisher[name]
            distance = self.fisher[name] * (parameter.detach() - self.begun[name]).square() / 2
            gained = self.path[name].clamp(min=0) / (distance + self.rwalk_epsilon)
            self.gained[name] = self.gained[name] + gained
        self.intervals += 1
        self.start_path()

    def importance(self) -> Weights:
        """Fisher information and score."""
        if self.steps:
            self._end_interval()
        share = 0.5 if self.tasks else 1.0
        for name, gained in self.gained.items():
            self.score[name] = share * gained + (1 - share) * self.score[name]
        self.gained = self._zeros()
        self.tasks += 1
        fisher, score = scaled(self.fisher), scaled(self.score)
        return {name: fisher[name] + score[name] for name in fisher}

    def consolidate(self, importance: Weights) -> None:
        """Replace the parabola: the importance of earlier tasks is part of the new one."""
        self.move_penalty(importance, decay=0.0)

    def state_dict(self) -> dict[str, Any]:
        """The network's state, the parabola, the path, and all running measures."""
        state = super().state_dict()
        state[self.state_key] |= {name: dict(getattr(self, name)) for name in KEPT}
        state[self.state_key] |= {"steps": self.steps, "intervals": self.intervals, "tasks": self.tasks}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with an earlier network and all that was measured."""
        super().load_state_dict(state)
        own = state[self.state_key]
        for name in KEPT:
            setattr(self, name, self.on_device(own[name]))
        self.steps, self.intervals, self.tasks = own["steps"], own["intervals"], own["tasks"]

    def costs(self) -> dict[str, Any]:
        """The costs of training; all that is kept by weight counts as buffer."""
        costs = super().costs()
        return costs | {"buffer_bytes": costs["buffer_bytes"] + sum(bytes_of(getattr(self, name)) for name in KEPT)}


def scaled(weights: Weights) -> Weights:
    """The same, divided by the largest of all values; zeros stay as they are."""
    largest = torch.stack([value.max() for value in weights.values()]).max()
    return {name: value / largest.clamp(min=torch.finfo(value.dtype).tiny) for name, value in weights.items()}
