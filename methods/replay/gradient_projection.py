"""The gradient that does no harm to the samples in the buffer, as a callback of Lightning."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from pytorch_lightning import Callback
from torch import Tensor

from redwood.core.workers import sum_over_workers, world_size

if TYPE_CHECKING:
    from redwood.methods.replay.agem import AGEM
    from redwood.methods.replay.rehearsal import Rows


def project(gradient: Tensor, reference: Tensor) -> Tensor:
    """The gradient (p,) nearest to `gradient` that does not raise the loss behind `reference` (p,) (equation 11).

    Decided without looking at the values on the host, so that a GPU is not waited for.
    """
    overlap = (gradient @ reference).clamp(max=0)
    return gradient - overlap / (reference @ reference).clamp(min=torch.finfo(reference.dtype).tiny) * reference


class GradientProjection(Callback):
    """Project the gradients of each step, once they have been computed."""

    def __init__(self, method: "AGEM") -> None:
        self._method = method

    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        """Replace the gradients of all parameters."""
        replayed = self._method.replayed
        if replayed is None and world_size() == 1:
            return
        parameters = [p for p in self._method.network.parameters() if p.grad is not None]
        reference = self._reference(trainer, parameters, replayed)
        if world_size() > 1:
            reference = sum_over_workers(reference.cpu()).to(reference.device) / world_size()
        projected = project(torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]), reference)
        for p, part in zip(parameters, projected.split([p.numel() for p in parameters]), strict=True):
            p.grad = part.view_as(p)

    def _reference(self, trainer: Any, parameters: Sequence[Tensor], replayed: "Rows | None") -> Tensor:
        """The gradient (p,) of the replayed samples' loss; zero without any, as other workers may have some."""
        if replayed is None:
            return torch.cat([torch.zeros_like(p).flatten() for p in parameters])
        with trainer.precision_plugin.forward_context():
            loss = self._method.reference_loss(replayed)
        parts = torch.autograd.grad(loss, parameters, materialize_grads=True)
        return torch.cat([part.flatten() for part in parts])
