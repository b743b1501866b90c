"""The models of timm, by `timm:NAME`; weights come from a file alone, and nothing is ever downloaded."""

import difflib
from collections import OrderedDict
from types import ModuleType
from typing import Any

from gymnasium.spaces import Box
from torch import nn

from redwood.core.errors import InvalidOptionError, UnknownNameError, reason_of
from redwood.methods.networks.builtin import Scale
from redwood.methods.networks.check import check_scores, image_shape
from redwood.methods.networks.inputs import AsPublished, ImageInput, Normalise, ToThreeChannels, colour_channels

PREFIX = "timm:"
_EXAMPLES = ["resnet18", "convnext_tiny", "vit_small_patch16_224"]


def _timm(name: str) -> ModuleType:
    try:
        import timm
    except ImportError as error:
        raise InvalidOptionError(
            f"The network {name} needs the package timm, which is not installed; pip install 'redwood[vision]'."
        ) from error
    module: ModuleType = timm
    return module


def timm_input(configuration: dict[str, Any]) -> ImageInput:
    """The input of published weights, by timm's `pretrained_cfg`."""
    return ImageInput(configuration["mean"], configuration["std"], configuration["input_size"][-1])


def timm_model(
    name: str, observation_space: Box, n_outputs: int, published: AsPublished | None = None
) -> nn.Sequential:
    """Return `scale` and `model`, with `to_three_channels` between them for one-channel images.

    A model for images of one size is built for the size that it gets. Without `published`, it is built for as many
    channels as images have, if these are neither one nor three.

    Args:
        name: `timm:NAME`, with or without the tag of published weights (`timm:resnet18.a1_in1k`).
        observation_space: Space of one image (C, H, W).
        n_outputs: Number of scores.
        published: How the input is normalised for published weights; None leaves colours in [-1, 1].

    Returns:
        A module that maps (B, C, H, W) to (B, n_outputs), with timm's initial weights.

    Raises:
        UnknownNameError: If timm has no such model, or no weights of that tag.
        InvalidOptionError: If timm is missing, the model cannot take such observations, or a tag is named and no
            weights are given.
    """
    timm, key = _timm(name), name.removeprefix(PREFIX)
    configuration = _configuration(timm, name, key, published)
    channels, height, width = image_shape(name, observation_space)
    options: dict[str, object] = {"num_classes": n_outputs, "in_chans": 3 if channels == 1 else channels}
    parts: OrderedDict[str, nn.Module] = OrderedDict(scale=Scale(observation_space))
    size = (height, width)
    if published is not None:
        colour_channels(name, observation_space)
        own = timm_input(configuration)
        pixels = published.pixels(own)
        parts["scale"] = Normalise(observation_space, own, pixels)
        size = (pixels, pixels) if pixels else size
    elif channels == 1:
        parts["to_three_channels"] = ToThreeChannels()
    if configuration.get("fixed_input_size") and size != configuration["input_size"][1:]:
        options["img_size"] = size
    try:
        parts["model"] = timm.create_model(key, pretrained=False, **options)
    except Exception as error:
        raise InvalidOptionError(
            f"The network {name} cannot be built for images {(options['in_chans'], *size)} ({reason_of(error)}); "
            "give --input_size, or choose another network."
        ) from error
    network = nn.Sequential(parts)
    check_scores(network, observation_space, n_outputs, name=f"The network {name}")
    return network


def _configuration(timm: ModuleType, name: str, key: str, published: AsPublished | None) -> dict[str, Any]:
    """Return timm's description of the input of a model's published weights."""
    model, _, tag = key.partition(".")
    known: list[str] = timm.list_models()
    if model not in known:
        near = difflib.get_close_matches(model, known, n=3, cutoff=0.5) or _EXAMPLES
        raise UnknownNameError("network in timm", name, {f"{PREFIX}{other}" for other in near})
    if tag and (published is None or not published.has_weights):
        raise InvalidOptionError(
            f"--model {name} names the published weights {tag}, and redwood downloads none; give their file by "
            f"--weights, or name the network alone: {PREFIX}{model}."
        )
    try:
        return dict(timm.get_pretrained_cfg(key).to_dict())
    except RuntimeError:  # no such tag
        tags = [f"{PREFIX}{other}" for other in timm.list_pretrained(f"{model}.*")]
        raise UnknownNameError("weights in timm", name, tags) from None
