"""Features of samples: the input of a network's last layer."""

import numpy as np
import torch
from gymnasium.spaces import Box
from torch import Tensor, nn

from redwood.core.errors import InvalidOptionError
from redwood.methods.training.layers import evaluating

CHUNK = 256
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def in_chunks(x: Tensor) -> tuple[Tensor, ...]:
    """Samples (n, ...) in parts that need little memory; an exported graph, which has no loops, takes all at once."""
    return (x,) if torch.compiler.is_exporting() else x.split(CHUNK)


@torch.no_grad()
def features_of(network: nn.Module, x: Tensor) -> Tensor:
    """The input of the network's last linear layer, in evaluation mode.

    Args:
        network: Maps samples (B, ...) to scores.
        x: Samples (n, ...), on the network's device; they go through it in chunks.

    Returns:
        Features (n, d), float32.

    Raises:
        InvalidOptionError: If the network has no linear layer, or does not use its last one.
    """
    layers = [part for part in network.modules() if isinstance(part, nn.Linear)]
    if not layers:
        raise InvalidOptionError(f"--model {type(network).__name__} has no linear layer to take features from.")
    inputs: list[Tensor] = []
    handle = layers[-1].register_forward_pre_hook(lambda layer, args: inputs.append(args[0].flatten(1).float()))
    try:
        with evaluating(network):
            for chunk in in_chunks(x):
                network(chunk)
    finally:
        handle.remove()
    if not inputs:
        raise InvalidOptionError(
            f"A {type(network).__name__} does not use its last linear layer as such, so there are no features to go "
            "by; choose another method or rule."
        )
    return torch.cat(inputs)


@torch.no_grad()
def output_layer(network: nn.Module, observation_space: Box, purpose: str) -> nn.Linear:
    """The linear layer whose outputs are the network's.

    A forward pass in evaluation mode replaces the outputs of the last linear layer, and has to return them.

    Args:
        network: Maps samples (B, ...) in their storage dtype to scores (B, K).
        observation_space: Space of one sample.
        purpose: What the layer is needed for, for the error.

    Returns:
        A layer with a bias: its weight is (K, d), one row per class.

    Raises:
        InvalidOptionError: If the network ends in anything else.
    """
    layers = [part for part in network.modules() if isinstance(part, nn.Linear) and part.bias is not None]
    if layers:
        handle = layers[-1].register_forward_hook(lambda layer, args, outputs: _both_signs(outputs))
        try:
            with evaluating(network):
                scores = network(zero_samples(network, observation_space))
        finally:
            handle.remove()
        if torch.equal(scores, _both_signs(scores)):
            return layers[-1]
    raise InvalidOptionError(
        f"--model {type(network).__name__} does not end in a linear layer with a bias, which {purpose}; "
        "choose another one, such as mlp."
    )


def _both_signs(outputs: Tensor) -> Tensor:
    """Numbers of the same shape and type, from -100 to 100, which any activation function changes."""
    return torch.linspace(-100, 100, outputs.numel(), device=outputs.device).reshape(outputs.shape).to(outputs.dtype)


def zero_samples(network: nn.Module, observation_space: Box) -> Tensor:
    """Two samples of zeros (2, ...) in their storage dtype, on the network's device."""
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    return torch.from_numpy(np.zeros((2, *observation_space.shape), observation_space.dtype)).to(device)


@torch.no_grad()
def modules_in_order(network: nn.Module, observation_space: Box) -> list[nn.Module]:
    """The modules that have parameters of their own, in the order of their first calls in a forward pass.

    Modules that the network does not call, such as layers whose weights it reads itself, are left out.
    """
    order: dict[nn.Module, None] = {}
    owners = [module for module in network.modules() if any(True for _ in module.parameters(recurse=False))]
    samples = zero_samples(network, observation_space)
    handles = [module.register_forward_pre_hook(lambda called, args: order.setdefault(called)) for module in owners]
    try:
        with evaluating(network):
            network(samples)
    finally:
        for handle in handles:
            handle.remove()
    return list(order)


def head_of(network: nn.Module, observation_space: Box) -> nn.Module:
    """The head of a network: the linear layer or convolution that a forward pass reaches last.

    Raises:
        InvalidOptionError: If it calls none.
    """
    layers = [module for module in modules_in_order(network, observation_space) if isinstance(module, LAYERS)]
    if not layers:
        raise InvalidOptionError(
            f"--model {type(network).__name__} has no linear layer and no convolution that could be its head; choose "
            "another network."
        )
    return layers[-1]


def head_name(network: nn.Module, observation_space: Box) -> str:
    """The name of `head_of` in the network.

    Raises:
        InvalidOptionError: If there is no head.
    """
    head = head_of(network, observation_space)
    names: list[str] = [name for name, module in network.named_modules() if module is head]
    return names[0]
