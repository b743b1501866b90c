"""The classification models of torchvision, by their torchvision names; weights come from a file alone."""

from collections import OrderedDict
from types import ModuleType

from gymnasium.spaces import Box
from torch import nn

from redwood.methods.networks.builtin import Scale
from redwood.methods.networks.check import check_scores
from redwood.methods.networks.inputs import AsPublished, ImageInput, Normalise, ToThreeChannels, colour_channels

# These two return a tuple with the scores of auxiliary heads in training, unless told not to.
_TWO_HEADS = ("googlenet", "inception_v3")
# Models whose weights belong to one size of images have a parameter for it.
_FIXED_SIZE = "vit_"


def _models() -> ModuleType:
    """`torchvision.models`, which takes seconds to import."""
    from torchvision import models

    module: ModuleType = models
    return module


def classification_models() -> list[str]:
    """Return the names of torchvision's classification models."""
    names: list[str] = _models().list_models(module=_models())
    return names


def torchvision_input(name: str) -> ImageInput:
    """The input of torchvision's own weights, by the transforms that come with them."""
    preset = _models().get_model_weights(name)["DEFAULT"].value.transforms()
    return ImageInput(preset.mean, preset.std, preset.crop_size[0])


def torchvision_model(
    name: str, observation_space: Box, n_outputs: int, published: AsPublished | None = None
) -> nn.Sequential:
    """Return `scale` and `model`, with `to_three_channels` between them for one-channel images.

    Args:
        name: One of `classification_models()`.
        observation_space: Space of one image (C, H, W) with one or three channels.
        n_outputs: Number of scores.
        published: How the input is normalised for torchvision's own weights; None leaves colours in [-1, 1].

    Returns:
        A module that maps (B, C, H, W) to (B, n_outputs), with torchvision's initial weights.

    Raises:
        InvalidOptionError: If the model cannot take such observations; many need larger images.
    """
    channels = colour_channels(name, observation_space)
    options: dict[str, object] = {"aux_logits": False, "init_weights": True} if name in _TWO_HEADS else {}
    parts: OrderedDict[str, nn.Module] = OrderedDict(scale=Scale(observation_space))
    if published is not None:
        configuration = torchvision_input(name)
        pixels = published.pixels(configuration)
        parts["scale"] = Normalise(observation_space, configuration, pixels)
        if name.startswith(_FIXED_SIZE) and pixels:
            options["image_size"] = pixels
        if name in _TWO_HEADS:  # their weights are older than the usual colours
            options["transform_input"] = True
    elif channels == 1:
        parts["to_three_channels"] = ToThreeChannels()
    parts["model"] = _models().get_model(name, weights=None, num_classes=n_outputs, **options)
    network = nn.Sequential(parts)
    check_scores(network, observation_space, n_outputs, name=f"The network {name}")
    return network
