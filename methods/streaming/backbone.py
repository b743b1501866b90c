"""Frozen feature extractors: what maps samples to features and is never trained."""

import re
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from gymnasium.spaces import Box
from torch import Tensor, nn

from redwood.core.errors import InvalidOptionError, reason_of
from redwood.core.seeding import preserved_random_state, seed_everything
from redwood.methods.networks import Scale, build_network
from redwood.methods.networks.last_layer import CHUNK, features_of
from redwood.methods.training.layers import evaluating

COUNTER = ".num_batches_tracked"
"""What batch normalisation counts, to no effect here; files older than it, as many of torchvision's, are without."""


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
            return torch.cat([self.network(chunk).flatten(1).float() for chunk in x.split(CHUNK)])


class ImageNetColours(nn.Module):
    """Turn colours in [-1, 1] into those that torchvision's weights were trained on."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: str) -> None:
        """Look up the mean and standard deviation of each colour, which are the same for nearly all models."""
        from torchvision.models import get_model_weights

        super().__init__()
        preset = get_model_weights(model)["DEFAULT"].value.transforms()
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(getattr(preset, name))[:, None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 3, H, W) in [-1, 1] to what the model was trained on."""
        return ((x + 1) / 2 - self.mean) / self.std


def make_backbone(backbone: str | nn.Module, weights: str, observation_space: Box, seed: int) -> Backbone:
    """Build a frozen feature extractor; under one seed it always has the same random weights.

    Args:
        backbone: `identity` (the scaled sample, flattened); the name of a network of `--model` or of torchvision, whose
            features are the input of its last linear layer; or a module, whose output they are. Like any network here,
            a module takes samples in their storage dtype. It is copied.
        weights: Path of a state dict for a named network, or nothing to leave its weights random.
        observation_space: Space of one sample.
        seed: The seed of the run.

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
        network = build_network(backbone, observation_space, 1)
    if not any(isinstance(part, nn.Linear) for part in network.modules()):
        raise InvalidOptionError(f"--backbone {backbone} has no linear layer to take features from; choose another.")
    if weights:
        load_weights(network, backbone, Path(weights))
    return Backbone(network, observation_space, before_last_layer=True)


def _current_name(key: str) -> str:
    """The name of a weight: the files of torchvision's DenseNets, which are older than the code, have another one."""
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", key)


def load_weights(
    network: nn.Module, name: str, path: Path, *, option: str = "--backbone_weights", of: str = "--backbone"
) -> None:
    """Load a state dict from disk but for the last linear layer, which tells other classes apart.

    Of the models of torchvision the file has the names of torchvision, without our `model.` before them. Such a model
    then gets the colours that it was trained on.

    Args:
        network: The network, with a linear layer.
        name: Its name.
        path: The file.
        option: The option that names the file, for errors.
        of: The option that names the network, for errors.

    Raises:
        InvalidOptionError: If the file cannot be read, or does not fit the network.
    """
    last_layer = [layer for layer, part in network.named_modules() if isinstance(part, nn.Linear)][-1]
    try:
        state: object = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InvalidOptionError(f"{option} {path} does not exist; give the path of a state dict.") from None
    except Exception as error:
        raise InvalidOptionError(
            f"{option} {path} cannot be read ({type(error).__name__}); save a state dict with torch.save."
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InvalidOptionError(f"{option} {path} holds no state dict; save one with torch.save.")
    prefix = "model." if hasattr(network, "model") else ""
    given = {f"{prefix}{_current_name(key)}": value for key, value in state.items()}
    wanted, given = (
        {
            key: value
            for key, value in part.items()
            if not key.startswith(f"{last_layer}.") and not key.endswith(COUNTER)
        }
        for part in (network.state_dict(), given)
    )
    wrong = sorted(wanted.keys() ^ given.keys()) or [key for key in wanted if wanted[key].shape != given[key].shape]
    if wrong:
        raise InvalidOptionError(
            f"{option} {path} does not fit {of} {name}: {wrong[0].removeprefix(prefix)} "
            f"{'differs in shape' if wrong[0] in wanted and wrong[0] in given else 'is only in one of them'}; "
            "give the weights of that network."
        )
    network.load_state_dict(given, strict=False)
    model = getattr(network, "model", None)
    if model is not None:
        network.model = nn.Sequential(ImageNetColours(name), model)
