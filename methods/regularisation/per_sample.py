"""What is measured on the gradient of each sample by itself."""

from collections.abc import Callable, Collection

import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from redwood.methods.regularisation.parabola import Weights
from redwood.methods.training.evaluation import evaluating

CHUNK = 32


def mean_over_samples(
    network: nn.Module,
    value: Callable[..., Tensor],
    measure: Callable[[Tensor], Tensor],
    *data: Tensor,
    names: Collection[str] | None = None,
) -> Weights:
    """The mean over samples of a measure of each sample's gradient.

    Args:
        network: Its parameters are differentiated by, in evaluation mode.
        value: Maps the network's parameters and one sample of each of `data` to a scalar.
        measure: What to take the mean of, elementwise: maps gradients (B, ...) to a tensor of that shape.
        *data: Tensors (n, ...), n samples.
        names: Which parameters; default: those that are trained.

    Returns:
        One tensor per parameter, of the parameter's shape.
    """
    weights = {
        name: p.detach()
        for name, p in network.named_parameters()
        if (p.requires_grad if names is None else name in names)
    }
    total = {name: torch.zeros_like(w) for name, w in weights.items()}
    per_sample = vmap(grad(value), in_dims=(None,) + (0,) * len(data))
    with evaluating(network):
        for chunk in zip(*(tensor.split(CHUNK) for tensor in data), strict=True):
            for name, gradients in per_sample(weights, *chunk).items():
                total[name] += measure(gradients).sum(0)
    return {name: summed / len(data[0]) for name, summed in total.items()}
