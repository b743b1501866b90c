"""Input scaling: samples in storage dtype become floats in [-1, 1]."""

import math
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import torch
from gymnasium.spaces import Box
from torch import Tensor, nn

from redwood.methods.networks.check import image_shape


class Scale(nn.Module):
    """Map each feature from its bounds [low, high] to [-1, 1]: x -> 2 (x - low) / (high - low) - 1.

    With a mean and a deviation, x -> ((x - low) / (high - low) - mean) / deviation.
    Features without finite bounds pass unchanged (a range that float32 cannot hold counts as unbounded); constant ones
    (low == high) become 0.

    Attributes:
        gain: Factor of each feature, of the observation's shape, or () where all features have the same bounds.
        bias: Offset of each feature, of the same shape.
    """

    gain: Tensor
    bias: Tensor

    def __init__(self, observation_space: Box, mean: float = 0.5, deviation: float = 0.5) -> None:
        """Read the bounds of one observation.

        Args:
            observation_space: Space of one observation.
            mean: The value that is mapped to 0, as a share of the way from low to high.
            deviation: The distance that is mapped to 1, as a share of that way.
        """
        super().__init__()
        low, high = np.asarray(observation_space.low, np.float64), np.asarray(observation_space.high, np.float64)
        # Infinite bounds and zero widths go through the arithmetic and are then replaced.
        with np.errstate(all="ignore"):
            width = high - low
            bounded, constant = width < np.finfo(np.float32).max, width == 0
            unit = width * deviation
            gain = np.where(bounded, np.where(constant, 0, 1 / unit), 1)
            bias = np.where(bounded, np.where(constant, 0, -(low * (1 - mean) + high * mean) / unit), 0)
        if np.ptp(gain) == 0 and np.ptp(bias) == 0:
            gain, bias = gain.reshape(-1)[0], bias.reshape(-1)[0]
        # The space is known whenever a network is built. So a checkpoint need not hold values that follow from it.
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


WIDTH = 256


def mlp(
    observation_space: Box,
    n_outputs: int,
    widths: Sequence[int] = (WIDTH, WIDTH),
    mean: float = 0.5,
    deviation: float = 0.5,
) -> nn.Sequential:
    """Return `scale`, `features` (hidden layers with ReLU, two of 256 by default) and a linear `head`.

    Args:
        observation_space: Space of one observation of any shape; it is flattened.
        n_outputs: Number of scores.
        widths: Units of each hidden layer.
        mean: See `Scale`.
        deviation: See `Scale`.

    Returns:
        A module that maps (B, ...) to (B, n_outputs).
    """
    layers: list[nn.Module] = [nn.Flatten()]
    n_in = math.prod(observation_space.shape)
    for width in widths:
        layers += [nn.Linear(n_in, width), nn.ReLU()]
        n_in = width
    parts = OrderedDict(
        scale=Scale(observation_space, mean, deviation),
        features=nn.Sequential(*layers),
        head=nn.Linear(n_in, n_outputs),
    )
    return nn.Sequential(parts)


CHANNELS = (32, 64, 128)


def simple_cnn(observation_space: Box, n_outputs: int) -> nn.Sequential:
    """Return `scale`, `features` (three times convolution 3 x 3, ReLU, max pooling 2 x 2) and a linear `head`.

    Args:
        observation_space: Space of one image (C, H, W) of at least 8 x 8 pixels.
        n_outputs: Number of scores.

    Returns:
        A module that maps (B, C, H, W) to (B, n_outputs).

    Raises:
        InvalidOptionError: If the observations are no images, or smaller ones.
    """
    n_in, height, width = image_shape("simple_cnn", observation_space, min_side=8)
    layers: list[nn.Module] = []
    for n_out in CHANNELS:
        layers += [nn.Conv2d(n_in, n_out, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        n_in = n_out
    features = nn.Sequential(*layers, nn.Flatten())
    head = nn.Linear(n_in * (height // 8) * (width // 8), n_outputs)
    return nn.Sequential(OrderedDict(scale=Scale(observation_space), features=features, head=head))


SLIM_FILTERS = (20, 40, 80, 160)


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut (He et al. 2016, figure 2)."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        """Make the block; the shortcut is a 1 x 1 convolution where the shape changes.

        Args:
            n_in: Channels of the input.
            n_out: Channels of the output.
            stride: Step of the first convolution, by which height and width shrink.
        """
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.relu2 = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or n_in != n_out:
            self.shortcut = nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, n_in, H, W) to (B, n_out, ceil(H / stride), ceil(W / stride))."""
        out = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        activated: Tensor = self.relu2(out + self.shortcut(x))
        return activated


def slim_resnet18(observation_space: Box, n_outputs: int) -> nn.Sequential:
    """Return `scale`, `features` and a linear `head`: a ResNet-18 with a third of the filters, made for small images.

    The stem is one 3 x 3 convolution without max pooling; the stages have 20, 40, 80 and 160 filters. For 10 outputs
    of colour images it has 1,094,750 parameters.

    Args:
        observation_space: Space of one image (C, H, W).
        n_outputs: Number of scores.

    Returns:
        A module that maps (B, C, H, W) to (B, n_outputs).

    Raises:
        InvalidOptionError: If the observations are no images.
    """
    return _small_image_resnet("slim_resnet18", observation_space, n_outputs, SLIM_FILTERS, n_blocks=2)


def cifar_resnet18(observation_space: Box, n_outputs: int) -> nn.Sequential:
    """Return `slim_resnet18` in full width, 64 to 512 filters: the network of Buzzega et al. (2020) for CIFAR-10.

    Arguments, result and errors are those of `slim_resnet18`. For 10 outputs of colour images: 11,173,962 parameters.
    """
    return _small_image_resnet("cifar_resnet18", observation_space, n_outputs, (64, 128, 256, 512), n_blocks=2)


def cifar_resnet32(observation_space: Box, n_outputs: int) -> nn.Sequential:
    """Return the ResNet-32 for CIFAR (He et al. 2016, section 4.2): three stages of 16, 32 and 64 filters.

    Arguments, result and errors are those of `slim_resnet18`. Where the shape changes, the shortcut is a 1 x 1
    convolution.
    """
    return _small_image_resnet("cifar_resnet32", observation_space, n_outputs, (16, 32, 64), n_blocks=5)


def _small_image_resnet(
    name: str, observation_space: Box, n_outputs: int, filters: Sequence[int], n_blocks: int
) -> nn.Sequential:
    """`scale`, `features` and `head`: a residual network with a 3 x 3 stem and `n_blocks` blocks in each stage."""
    channels, _, _ = image_shape(name, observation_space)
    n_in = filters[0]
    layers: list[nn.Module] = [
        nn.Conv2d(channels, n_in, 3, padding=1, bias=False),
        nn.BatchNorm2d(n_in),
        nn.ReLU(),
    ]
    for stage, n_out in enumerate(filters):
        for block in range(n_blocks):
            layers.append(BasicBlock(n_in, n_out, stride=2 if stage and not block else 1))
            n_in = n_out
    features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    head = nn.Linear(n_in, n_outputs)
    return nn.Sequential(OrderedDict(scale=Scale(observation_space), features=features, head=head))
