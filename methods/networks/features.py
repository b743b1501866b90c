"""What a network makes of samples before its last layer."""

import torch
from torch import Tensor, nn

from redwood.methods.training.evaluation import evaluating
from redwood.settings.errors import InvalidOptionError

CHUNK = 256


@torch.no_grad()
def features_of(network: nn.Module, x: Tensor) -> Tensor:
    """The input of the network's last linear layer, in evaluation mode.

    Args:
        network: Maps samples (B, ...) to scores.
        x: Samples (n, ...), on the network's device; they go through it in chunks.

    Returns:
        Features (n, d), float32.

    Raises:
        InvalidOptionError: If the network has no linear layer.
    """
    layers = [part for part in network.modules() if isinstance(part, nn.Linear)]
    if not layers:
        raise InvalidOptionError(f"--model {type(network).__name__} has no linear layer to take features from.")
    inputs: list[Tensor] = []
    handle = layers[-1].register_forward_pre_hook(lambda layer, args: inputs.append(args[0].flatten(1).float()))
    try:
        with evaluating(network):
            for chunk in x.split(CHUNK):
                network(chunk)
    finally:
        handle.remove()
    return torch.cat(inputs)
