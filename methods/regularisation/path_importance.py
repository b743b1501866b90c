"""Importance of weights that is measured along the way that they take in training."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from typing_extensions import override

from redwood.methods.regularisation.importance import WeightImportance
from redwood.methods.regularisation.quadratic_penalty import Weights
from redwood.settings.supervised import SupervisedSetting

if TYPE_CHECKING:
    from pytorch_lightning import Callback


@dataclass
class PathImportance(WeightImportance):
    """Measure the importance of weights by how much their steps have lowered the loss.

    Attributes that a subclass may use:
        path: For each weight minus the sum over steps of gradient times movement, since `start_path`. The gradient is
            that of the loss without the penalty.
    """

    @override
    def configure(self, setting: SupervisedSetting) -> None:
        super().configure(setting)
        self.curvature |= self.zeros()
        self.minimum |= self.copied_weights()
        self.path = self.add_state("path", self.zeros(), buffer=True)

    def zeros(self) -> Weights:
        """Zeros in the shapes of the trained weights."""
        return {name: torch.zeros_like(p) for name, p in self.trained_weights()}

    def copied_weights(self) -> Weights:
        """The trained weights as they are now."""
        return {name: p.detach().clone() for name, p in self.trained_weights()}

    def start_path(self) -> None:
        """Begin a new path."""
        self.path = self.zeros()

    def note_step(self, name: str, gradient: Tensor, moved: Tensor) -> None:
        """Count one step of a parameter: the gradient before it, and the movement; both of its shape."""
        self.path[name] = self.path[name] - gradient * moved

    def after_step(self) -> None:
        """The steps of all parameters have been counted."""

    @abstractmethod
    def importance(self) -> Weights:
        """From `path`, and from the distance of the weights to `minimum`, where the task began."""

    @override
    def on_task_end(self, task_id: int | None) -> None:
        super().on_task_end(task_id)
        self.start_path()

    @override
    def callbacks(self) -> "Sequence[Callback]":
        from redwood.methods.regularisation.step_watch import StepWatch

        return (*super().callbacks(), StepWatch(self))
