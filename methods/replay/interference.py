"""The interference of an update: the rise of the loss of other samples."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from redwood.methods.training.heads import sample_losses
from redwood.methods.training.layers import evaluating
from redwood.settings.batch import Batch

# Restricts scores (B, K) to the tasks (B,) of their samples.
Mask = Callable[[Tensor, Tensor | None], Tensor]


def interference(network: nn.Module, update: Batch, others: Batch, lr: float, mask: Mask) -> Tensor:
    """l(theta - lr * grad L(update)) - l(theta) of each of the other samples (MIR: Aljundi et al., 2019, equation 1).

    Args:
        network: In evaluation mode for the while; its parameters theta are left as they are.
        update: The samples of a virtual step of gradient descent.
        others: The samples to score (n, ...).
        lr: Learning rate of that step.
        mask: What becomes of the network's scores, given the samples' tasks.

    Returns:
        Rise of the loss (n,).
    """

    def losses(weights: Mapping[str, Tensor], batch: Batch) -> Tensor:
        scores = functional_call(network, dict(weights), (batch.x,))
        return sample_losses(mask(scores, batch.task_id), batch.y)

    weights = {name: p for name, p in network.named_parameters() if p.requires_grad}
    with evaluating(network):
        loss = losses(weights, update).mean()
        if not loss.requires_grad:  # all that answers is frozen: the step moves nothing
            return torch.zeros(len(others.y), device=loss.device)
        gradients = torch.autograd.grad(loss, list(weights.values()), materialize_grads=True)
        with torch.no_grad():
            moved = {name: p - lr * g for (name, p), g in zip(weights.items(), gradients, strict=True)}
            return losses(moved, others) - losses(weights, others)
