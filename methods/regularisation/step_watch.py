"""What each step of the optimizer does to each weight, as a callback of Lightning."""

from typing import TYPE_CHECKING, Any

import torch
from pytorch_lightning import Callback
from torch import Tensor

if TYPE_CHECKING:
    from redwood.methods.regularisation.path_importance import PathImportance


class StepWatch(Callback):
    """Tells the method with which gradient each weight went how far in each step of the optimizer."""

    def __init__(self, method: "PathImportance") -> None:
        self._method = method
        self._before: list[tuple[str, Tensor, Tensor, Tensor]] = []

    @torch.no_grad()
    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Note gradients and weights, once the gradients are complete: accumulated, averaged over workers, unscaled.

        The penalty's gradient is known without a second backward pass, so that it can be taken out.
        """
        self._before = [
            (name, parameter, parameter.grad - self._penalty_gradient(name, parameter), parameter.detach().clone())
            for name, parameter in self._method.penalised_weights()
            if parameter.grad is not None
        ]

    def _penalty_gradient(self, name: str, parameter: Tensor) -> Tensor:
        return self._method.effective_strength(name) * (parameter - self._method.minimum[name])

    @torch.no_grad()
    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Tell of the step, if there was one."""
        for name, parameter, gradient, before in self._before:
            moved = parameter - before
            # A step that is left out as its gradients overflowed has moved nothing.
            self._method.note_step(name, gradient.masked_fill(moved == 0, 0), moved)
        if self._before:
            self._before = []
            self._method.after_step()
