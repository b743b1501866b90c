"""A small convolutional network without normalisation, whose statistics would drift from task to task."""

from collections import OrderedDict

from gymnasium.spaces import Box
from torch import nn

from redwood.methods.networks.check import image_shape
from redwood.methods.networks.scale import Scale

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
