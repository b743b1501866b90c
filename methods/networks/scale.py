"""Input scaling: samples in storage dtype become floats in [-1, 1]."""

import numpy as np
import torch
from gymnasium.spaces import Box
from torch import Tensor, nn


class Scale(nn.Module):
    """Map each feature from its bounds [low, high] to [-1, 1]: x -> 2 (x - low) / (high - low) - 1.

    Features without finite bounds pass unchanged (a range that float32 cannot hold counts as unbounded); constant ones
    (low == high) become 0.

    Attributes:
        gain: Factor of each feature, of the observation's shape, or () where all features have the same bounds.
        bias: Offset of each feature, of the same shape.
    """

    gain: Tensor
    bias: Tensor

    def __init__(self, observation_space: Box) -> None:
        """Read the bounds of one observation."""
        super().__init__()
        low, high = np.asarray(observation_space.low, np.float64), np.asarray(observation_space.high, np.float64)
        # Infinite bounds and zero widths go through the arithmetic and are then replaced.
        with np.errstate(all="ignore"):
            width = high - low
            bounded, constant = width < np.finfo(np.float32).max, width == 0
            gain = np.where(bounded, np.where(constant, 0, 2 / width), 1)
            bias = np.where(bounded, np.where(constant, 0, -(high + low) / width), 0)
        if np.ptp(gain) == 0 and np.ptp(bias) == 0:
            gain, bias = gain.reshape(-1)[0], bias.reshape(-1)[0]
        # The space is known whenever a network is built, so that a checkpoint need not hold what follows from it.
        self.register_buffer("gain", torch.as_tensor(gain, dtype=torch.float32), persistent=False)
        self.register_buffer("bias", torch.as_tensor(bias, dtype=torch.float32), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Scale samples (B, ...) of any real dtype; the result is in the dtype of the module, float32 if not cast."""
        # Not addcmul: with one gain and bias for all features it takes twice as long on the CPU.
        return (x.to(self.gain.dtype) * self.gain).add_(self.bias)

    def extra_repr(self) -> str:
        """Show the scalars, or the shape of the features."""
        if self.gain.dim():
            return f"shape={tuple(self.gain.shape)}"
        return f"gain={self.gain.item():g}, bias={self.bias.item():g}"
