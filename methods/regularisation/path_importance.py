"""Importance of weights that is measured along the way that they take in training."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from redwood.methods.regularisation.importance import WeightImportance
from redwood.methods.regularisation.quadratic_penalty import Weights, bytes_of
from redwood.settings.base import Setting

if TYPE_CHECKING:
    from pytorch_lightning import Callback


@dataclass
class PathImportance(WeightImportance):
    """Measure the importance of weights by what their moves have lowered the loss by.

    Attributes that a subclass may use:
        path: For each weight minus the sum over steps of gradient times movement, since `start_path`. The gradient is
            that of the loss without the penalty.
    """

    def configure(self, setting: Setting) -> None:
        """Build the network; its weights are where the path begins."""
        super().configure(setting)
        self.curvature = {name: torch.zeros_like(p) for name, p in self.trained_weights()}
        self.minimum = {name: p.detach().clone() for name, p in self.trained_weights()}
        self.start_path()

    def start_path(self) -> None:
        """Begin a new path."""
        self.path: Weights = {name: torch.zeros_like(p) for name, p in self.trained_weights()}

    def note_step(self, name: str, gradient: Tensor, moved: Tensor) -> None:
        """Take in one step of a parameter: the gradient before it, and the movement; both of its shape."""
        self.path[name] = self.path[name] - gradient * moved

    def after_step(self) -> None:
        """All parameters' steps have been taken in."""

    @abstractmethod
    def importance(self) -> Weights:
        """From `path` and what the weights went since the task before, at `minimum`."""

    def on_task_end(self, task_id: int | None) -> None:
        """Measure the importance of the weights, and begin a new path."""
        super().on_task_end(task_id)
        self.start_path()

    def callbacks(self) -> "Sequence[Callback]":
        """The watch over steps, too."""
        from redwood.methods.regularisation.step_watch import StepWatch

        return (*super().callbacks(), StepWatch(self))

    def state_dict(self) -> dict[str, Any]:
        """The network's state, the parabola, and the path so far."""
        state = super().state_dict()
        state[self.state_key]["path"] = dict(self.path)
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with an earlier network, parabola and path."""
        super().load_state_dict(state)
        self.path = self.on_device(state[self.state_key]["path"])

    def costs(self) -> dict[str, Any]:
        """The costs of training; the parabola and the path count as buffer."""
        costs = super().costs()
        return costs | {"buffer_bytes": costs["buffer_bytes"] + bytes_of(self.path)}
