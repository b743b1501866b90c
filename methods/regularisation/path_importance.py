"""Importance of weights, measured along their path in training."""

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor
from typing_extensions import override

from redwood.methods.regularisation.importance import WeightImportance
from redwood.methods.regularisation.measure import Measure
from redwood.methods.regularisation.quadratic_penalty import Weights

# Options of training that do not go with such a measure; see `LightningMethod.unused_options`.
UNUSED: Mapping[str, str] = {
    "accumulate_grad_batches": "which takes the gradient of the penalty off that of each batch",
    "patience": "whose importance is that of all steps, those after the best score included",
}


class PathImportance(Measure):
    """Measures the importance of weights by how much their steps have lowered the loss.

    Attributes that a subclass may use:
        method: Its weights are measured.
        path: For each weight minus the sum over steps of gradient times movement, since `start_path`. The gradient is
            that of the loss without the penalty.
    """

    def __init__(self, method: WeightImportance) -> None:
        """Begin the first path.

        Args:
            method: Its weights are measured; it gets a penalty of curvature 0 around the present weights.
        """
        self.method, self.device = method, method.device  # a loaded state goes to the device
        method.curvature |= self.zeros()
        method.minimum |= self.copied_weights()
        self.path = self.add_state("path", self.zeros(), buffer=True)
        # Of each parameter its gradient without the penalty, and its values; empty outside the optimizer's step.
        self._before_step: dict[str, tuple[Tensor, Tensor]] = {}

    def zeros(self) -> Weights:
        """Zeros in the shapes of the trained weights."""
        return {name: torch.zeros_like(p) for name, p in self.method.trained_weights()}

    def copied_weights(self) -> Weights:
        """The trained weights as they are now."""
        return {name: p.detach().clone() for name, p in self.method.trained_weights()}

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
        """From `path`, and from the distance of the weights to the method's `minimum`, where the task began."""

    @override
    def end_task(self) -> None:
        self.start_path()

    @override
    @torch.no_grad()
    def before_optimizer_step(self) -> None:
        # The gradient of the penalty is known without a second backward pass.
        self._before_step = {
            name: (self._gradient_of_loss(name, parameter, parameter.grad), parameter.detach().clone())
            for name, parameter in self.method.penalised_weights()
            if parameter.grad is not None
        }

    def _gradient_of_loss(self, name: str, parameter: Tensor, gradient: Tensor) -> Tensor:
        return gradient - self.method.effective_strength(name) * (parameter - self.method.minimum[name])

    @override
    @torch.no_grad()
    def after_batch(self) -> None:
        if not self._before_step:
            return  # gradients are accumulated, and the optimizer has made no step
        for name, parameter in self.method.penalised_weights():
            if name in self._before_step:
                gradient, before = self._before_step[name]
                moved = parameter - before
                # An optimizer that leaves a step out, since gradients overflowed, has moved nothing.
                self.note_step(name, gradient.masked_fill(moved == 0, 0), moved)
        self._before_step = {}
        self.after_step()
