"""The multi-layer perceptron: the network of small images, feature vectors and most control tasks."""

import math
from collections import OrderedDict

from gymnasium.spaces import Box
from torch import nn

from redwood.methods.networks.scale import Scale

WIDTH = 256


def mlp(observation_space: Box, n_outputs: int) -> nn.Sequential:
    """Return `scale`, `features` (two hidden layers of 256 with ReLU) and a linear `head`.

    Args:
        observation_space: Space of one observation of any shape; it is flattened.
        n_outputs: Number of scores.

    Returns:
        A module that maps (B, ...) to (B, n_outputs).
    """
    features = nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(observation_space.shape), WIDTH),
        nn.ReLU(),
        nn.Linear(WIDTH, WIDTH),
        nn.ReLU(),
    )
    head = nn.Linear(WIDTH, n_outputs)
    return nn.Sequential(OrderedDict(scale=Scale(observation_space), features=features, head=head))
