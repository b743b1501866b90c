"""Frozen feature extractors: what maps samples to features and is never trained."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from gymnasium.spaces import Box
from torch import Tensor, nn

from redwood.core.errors import InvalidOptionError, reason_of
from redwood.core.seeding import preserved_random_state, seed_everything
from redwood.methods.networks import Scale, build_network
from redwood.methods.networks.inputs import AsPublished
from redwood.methods.networks.last_layer import features_of, in_chunks
from redwood.methods.networks.timm_models import PREFIX
from redwood.methods.networks.weights import load_weights
from redwood.methods.training.layers import evaluating


class Backbone(nn.Module):
    """Maps samples (n, ...) in their storage dtype to features (n, d), float32, always in evaluation mode.

    Attributes:
        dim: The number d of features.
    """

    def __init__(self, network: nn.Module, observation_space: Box, *, before_last_layer: bool) -> None:
        """Freeze `network`, and find out how many features it has.

        Args:
            network: Takes samples in their storage dtype.
            observation_space: Space of one sample.
            before_last_layer: Whether the features are the input of its last linear layer, rather than its output.

        Raises:
            InvalidOptionError: If it cannot take such samples, or does not give a row of features for each.
        """
        super().__init__()
        self.network = network.requires_grad_(False)
        self._before_last_layer = before_last_layer
        device = next((tensor.device for tensor in network.state_dict().values()), torch.device("cpu"))
        samples = torch.from_numpy(np.zeros((2, *observation_space.shape), observation_space.dtype)).to(device)
        try:
            features = self(samples)
        except Exception as error:
            raise InvalidOptionError(
                f"The backbone cannot take samples {observation_space.shape} {observation_space.dtype} "
                f"({reason_of(error)}); choose another --backbone."
            ) from error
        if len(features) != 2:
            raise InvalidOptionError(
                f"The backbone maps 2 samples to {len(features)} rows of features; it has to give one for each."
            )
        self.dim: int = features.shape[1]

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Features (n, d) of samples (n, ...) on the device of the network, computed in chunks."""
        if self._before_last_layer:
            return features_of(self.network, x)
        with evaluating(self.network):
            return torch.cat([self.network(chunk).flatten(1).float() for chunk in in_chunks(x)])


def make_backbone(
    backbone: str | nn.Module, weights: str, observation_space: Box, seed: int, *, reads: bool = True
) -> Backbone:
    """Build a frozen feature extractor; under one seed it always has the same random weights.

    Args:
        backbone: `identity`: features are the scaled sample, flattened. The name of a network of `--model`: they are
            the input of its last linear layer. A module: they are its output. Like any network here, a module takes
            samples in their storage dtype. It is copied.
        weights: Path of a state dict for a named network, or nothing to leave its weights random. With weights, a model
            of torchvision or timm sees the colours that it was trained on; one of timm their size of images, too.
        observation_space: Space of one sample.
        seed: The seed of the run.
        reads: Whether the weights are read; else the state of a trained backbone has to follow.

    Raises:
        InvalidOptionError: If the backbone does not fit the samples, or the weights do not fit the backbone.
        UnknownNameError: If there is no network of that name.
    """
    if isinstance(backbone, nn.Module) or backbone == "identity":
        if weights:
            raise InvalidOptionError("--backbone_weights is for a network given by name; leave it out.")
        network = deepcopy(backbone) if isinstance(backbone, nn.Module) else Scale(observation_space)
        return Backbone(network, observation_space, before_last_layer=False)
    with preserved_random_state():
        seed_everything(seed, "backbone")
        published = AsPublished(resizes=backbone.startswith(PREFIX)) if weights else None
        network = build_network(backbone, observation_space, 1, published)
    if not any(isinstance(part, nn.Linear) for part in network.modules()):
        raise InvalidOptionError(f"--backbone {backbone} has no linear layer to take features from; choose another.")
    if weights and reads:
        option = "--backbone_weights"
        load_weights(network, backbone, Path(weights), observation_space, option=option, of="--backbone")
    return Backbone(network, observation_space, before_last_layer=True)
