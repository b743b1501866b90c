"""Checks that a network takes the observations of a setting, made once when it is built."""

from collections.abc import Mapping
from copy import deepcopy

import numpy as np
import torch
from gymnasium.spaces import Box
from torch import nn

from redwood.core.errors import DataError, InvalidOptionError, reason_of


def adapt_module(module: nn.Module, observation_space: Box, n_outputs: int) -> nn.Module:
    """Return a copy of a user's own module, once it is known to fit; the module itself is never trained.

    Args:
        module: Maps a batch (B, ...) in storage dtype (it scales its input itself) to scores (B, n_outputs).
        observation_space: Space of one observation.
        n_outputs: Number of scores.

    Raises:
        InvalidOptionError: If the module cannot be copied, fails on such a batch or returns anything else.
    """
    name = f"The network {type(module).__name__}"
    try:
        network = deepcopy(module)
    except Exception as error:
        raise InvalidOptionError(
            f"{name} cannot be copied ({reason_of(error)}), and every run trains a copy of what it was given; "
            "make all that it holds copyable, or give --model file.py:function."
        ) from error
    check_scores(network, observation_space, n_outputs, name=name)
    return network


def check_scores(module: nn.Module, observation_space: Box, n_outputs: int, *, name: str) -> None:
    """Check that `module` maps a batch of observations to scores, by one forward pass of two zero samples.

    The pass is made in eval mode, without gradients; modes and random generators are as before afterwards.

    Args:
        module: The network.
        observation_space: Space of one observation.
        n_outputs: Number of scores.
        name: What the sentence of an error calls the network.

    Raises:
        InvalidOptionError: If the module fails on such a batch or returns anything but a tensor (2, n_outputs).
    """
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    batch = torch.from_numpy(np.zeros((2, *observation_space.shape), observation_space.dtype)).to(device)
    try:
        scores = _scores_of(module, batch)
    except Exception as error:
        remedy = "choose another network or other observations"
        if not batch.dtype.is_floating_point and _fails_by_type(module, batch, error):
            remedy = "it gets samples as they are stored, so start its forward with x = x.float(), and scale them"
        raise InvalidOptionError(
            f"{name} cannot take samples {observation_space.shape} {observation_space.dtype} ({reason_of(error)}); "
            f"{remedy}."
        ) from error
    expected = (2, n_outputs)
    if not isinstance(scores, torch.Tensor) or tuple(scores.shape) != expected:
        got = tuple(scores.shape) if isinstance(scores, torch.Tensor) else f"a {type(scores).__name__}"
        raise InvalidOptionError(
            f"{name} must map 2 samples {observation_space.shape} to a tensor of scores {expected}, got {got}; "
            f"give it {n_outputs} outputs: a class or function of --model file.py:NAME gets the number as its argument "
            "n_outputs, and the number grows with the classes."
        )


def _scores_of(module: nn.Module, batch: torch.Tensor) -> object:
    """What a module in eval mode returns for a batch; its modes and the random generators stay as they are."""
    modes = [(child, child.training) for child in module.modules()]
    module.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[batch.device] if batch.is_cuda else []):
            return module(batch)
    finally:
        for child, mode in modes:
            child.training = mode


def _fails_by_type(module: nn.Module, batch: torch.Tensor, error: Exception) -> bool:
    """True if the module takes the same batch as floats, or then fails by another error."""
    try:
        _scores_of(module, batch.float())
    except Exception as other:
        return reason_of(other) != reason_of(error)
    return True


def image_shape(network: str, observation_space: Box, *, min_side: int = 1) -> tuple[int, int, int]:
    """Return (channels, height, width) of the observations.

    Args:
        network: Name of the network that needs images, for the error.
        observation_space: Space of one observation.
        min_side: Fewest pixels a side that the network can take.

    Raises:
        InvalidOptionError: If the observations are no images (C, H, W) of that size.
    """
    shape = observation_space.shape
    if len(shape) != 3 or min(shape[1:]) < min_side:
        raise InvalidOptionError(
            f"The network {network} needs images (channels, height, width) of at least {min_side} x {min_side} pixels, "
            f"got samples {shape}; choose mlp."
        )
    channels, height, width = shape
    return channels, height, width


def check_weights(weights: Mapping[str, torch.Tensor], network: nn.Module) -> None:
    """Raise `DataError` unless the weights of a checkpoint, by name, have the names and shapes of the network's."""
    check_shapes(weights, network.state_dict())


def check_shapes(values: Mapping[str, torch.Tensor], like: Mapping[str, torch.Tensor]) -> None:
    """Raise `DataError` unless the tensors of a checkpoint have the names and shapes of those of the network."""
    own = {name: tuple(value.shape) for name, value in like.items() if isinstance(value, torch.Tensor)}
    others = {name: tuple(value.shape) for name, value in values.items() if isinstance(value, torch.Tensor)}
    for name in {**own, **others}:
        if own.get(name) != others.get(name):
            raise DataError(
                f"The checkpoint is of another network: {name} is {others.get(name, 'missing')} in the checkpoint and "
                f"{own.get(name, 'missing')} in the network; use the network that it was written with."
            )
