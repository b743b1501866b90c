"""Importance of weights, measured along their path in training."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from redwood.methods.regularisation.importance import WeightImportance
from redwood.methods.regularisation.quadratic_penalty import Weights
from redwood.methods.training.step import Step
from redwood.settings.supervised import SupervisedSetting


@dataclass
class PathImportance(WeightImportance):
    """Measure the importance of weights by how much their steps have lowered the loss.

    Attributes that a subclass may use:
        path: For each weight minus the sum over steps of gradient times movement, since `start_path`. The gradient is
            that of the loss without the penalty.
    """

    unused_options: ClassVar[Mapping[str, str]] = {
        "accumulate_grad_batches": "which takes the gradient of the penalty off that of each batch",
        "patience": "whose importance is that of all steps, those after the best score included",
    }

    @override
    def configure(self, setting: SupervisedSetting) -> None:
        super().configure(setting)
        self.curvature |= self.zeros()
        self.minimum |= self.copied_weights()
        self.path = self.add_state("path", self.zeros(), buffer=True)
        # Of each parameter its gradient without the penalty, and its values; empty outside the optimizer's step.
        self._before_step: dict[str, tuple[Tensor, Tensor]] = {}

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
    @torch.no_grad()
    def before_optimizer_step(self) -> None:
        super().before_optimizer_step()
        # The gradient of the penalty is known without a second backward pass.
        self._before_step = {
            name: (self._gradient_of_loss(name, parameter, parameter.grad), parameter.detach().clone())
            for name, parameter in self.penalised_weights()
            if parameter.grad is not None
        }

    def _gradient_of_loss(self, name: str, parameter: Tensor, gradient: Tensor) -> Tensor:
        return gradient - self.effective_strength(name) * (parameter - self.minimum[name])

    @override
    @torch.no_grad()
    def on_batch_end(self, step: Step, loss: Tensor, batch_idx: int) -> None:
        super().on_batch_end(step, loss, batch_idx)
        if not self._before_step:
            return  # gradients are accumulated, and the optimizer has made no step
        for name, parameter in self.penalised_weights():
            if name in self._before_step:
                gradient, before = self._before_step[name]
                moved = parameter - before
                # An optimizer that leaves a step out, since gradients overflowed, has moved nothing.
                self.note_step(name, gradient.masked_fill(moved == 0, 0), moved)
        self._before_step = {}
        self.after_step()
