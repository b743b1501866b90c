"""What a network's outputs stand for: scores of classes, or numbers."""

from math import prod
from typing import Any

import gymnasium
from torch import Tensor
from torch.nn import functional as F


def count_outputs(action_space: gymnasium.spaces.Space[Any]) -> int:
    """Outputs that a network needs: one for each class, or for each number to predict."""
    if isinstance(action_space, gymnasium.spaces.Box):
        return prod(action_space.shape)
    return int(action_space.n)  # type: ignore[attr-defined]


def predicts_numbers(action_space: gymnasium.spaces.Space[Any]) -> bool:
    """Whether numbers are to be predicted, not classes."""
    return isinstance(action_space, gymnasium.spaces.Box)


def as_predictions(outputs: Tensor, action_space: gymnasium.spaces.Space[Any]) -> Tensor:
    """What to answer with: scores (B, K) of classes as they are, numbers (B,) or (B, d) in the shape of the targets."""
    if not predicts_numbers(action_space):
        return outputs
    return outputs.reshape(len(outputs), *(action_space.shape or ()))


def sample_losses(outputs: Tensor, y: Tensor) -> Tensor:
    """The loss (B,) of each sample: cross-entropy of classes, or the squared error, a mean over the target's numbers.

    Args:
        outputs: Of the network (B, K) or (B, d).
        y: Classes (B,), integers, or targets (B,) or (B, d), floats.
    """
    if not y.is_floating_point():
        return F.cross_entropy(outputs, y, reduction="none")
    return (outputs - y.view_as(outputs)).square().mean(1)
