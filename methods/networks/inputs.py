"""The preparation of images for a network: the size and the colours that published weights were trained on."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from gymnasium.spaces import Box
from torch import Tensor, nn
from torch.nn import functional as F

from redwood.core.errors import InvalidOptionError
from redwood.methods.networks.builtin import Scale
from redwood.methods.networks.check import image_shape


class ImageInput(NamedTuple):
    """The configuration that published weights come with.

    Attributes:
        mean: Mean of each colour, where colours are in [0, 1].
        std: Standard deviation of each colour.
        side: Height and width of the images that they were trained on.
    """

    mean: Sequence[float]
    std: Sequence[float]
    side: int


class AsPublished(NamedTuple):
    """Asks for a network whose input is normalised as published weights need it.

    Attributes:
        side: Height and width that images get (0: those of the weights).
        resizes: Whether images are resized at all.
        has_weights: Whether such weights follow.
    """

    side: int = 0
    resizes: bool = True
    has_weights: bool = True

    def pixels(self, configuration: ImageInput) -> int:
        """Height and width that images get, 0 if they stay as they are."""
        return (self.side or configuration.side) if self.resizes else 0


class Normalise(nn.Module):
    """Stands in the place of `Scale`: resizes images on the device, and turns colours into those of published weights.

    Bounds [low, high] become [0, 1], the size changes (bilinear, antialiased; the whole image, without a crop), then
    x -> (x - mean) / std. An image of one channel is shown in all three.

    Attributes:
        mean: Mean of each colour (3, 1, 1).
        std: Standard deviation of each colour (3, 1, 1).
        side: Height and width that images get; 0 leaves them as they are.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, observation_space: Box, configuration: ImageInput, side: int) -> None:
        """Read the bounds of one observation, an image (1 or 3, H, W)."""
        super().__init__()
        self.scale = Scale(observation_space)
        self.side = 0 if observation_space.shape[1:] == (side, side) else side
        for name, values in (("mean", configuration.mean), ("std", configuration.std)):
            # They follow from the options, so that a checkpoint need not hold them.
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, 1 or 3, H, W) in storage dtype to floats (B, 3, side, side)."""
        x = self.scale(x)
        if self.side:
            x = F.interpolate(x, (self.side, self.side), mode="bilinear", antialias=True)
        return ((x + 1) / 2 - self.mean) / self.std

    def extra_repr(self) -> str:
        """Show the size."""
        return f"side={self.side or 'as it is'}"


class ToThreeChannels(nn.Module):
    """Show a one-channel image in all three colour channels."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 1, H, W) to (B, 3, H, W) without a copy."""
        return x.expand(-1, 3, -1, -1)


def colour_channels(name: str, observation_space: Box) -> int:
    """The channels of the images, 1 or 3.

    Raises:
        InvalidOptionError: If they have others, or the observations are no images.
    """
    channels, _, _ = image_shape(name, observation_space)
    if channels not in (1, 3):
        raise InvalidOptionError(
            f"The network {name} needs images with 1 or 3 channels, got samples {observation_space.shape}; "
            "choose slim_resnet18 or simple_cnn."
        )
    return channels
