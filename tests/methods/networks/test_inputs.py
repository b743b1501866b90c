"""Images as published weights need them."""

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from torch.nn import functional as F
from torchvision.models import ResNet18_Weights

from redwood.methods.networks import Scale, build_network
from redwood.methods.networks.inputs import AsPublished, ImageInput, Normalise
from tests.methods.networks.spaces import images, vectors

COLOURS = ImageInput([0.485, 0.456, 0.406], [0.229, 0.224, 0.225], 224)


def test_colours_are_those_of_torchvisions_transforms() -> None:
    x = torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8)
    transforms = ResNet18_Weights.DEFAULT.transforms()
    transforms.resize_size = [224]
    normalise = Normalise(images(3, 224, 224), COLOURS, 224)
    torch.testing.assert_close(normalise(x), transforms(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("side", [16, 48])
def test_the_whole_image_is_resized(side: int) -> None:
    x = torch.rand(2, 3, 32, 24)
    space = Box(0, 1, (3, 32, 24), np.float32)
    resized = Normalise(space, COLOURS, side)(x)
    expected = F.interpolate(x, (side, side), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(values)[:, None, None] for values in COLOURS[:2])
    torch.testing.assert_close(resized, (expected - mean) / std, rtol=1e-4, atol=1e-5)


def test_grey_images_become_colour_ones() -> None:
    x = torch.randint(0, 256, (2, 1, 32, 32), dtype=torch.uint8)
    grey, colour = (Normalise(images(channels, 32, 32), COLOURS, 40) for channels in (1, 3))
    assert torch.equal(grey(x), colour(x.expand(-1, 3, -1, -1)))


def test_what_follows_from_the_options_is_in_no_checkpoint() -> None:
    assert not Normalise(images(3, 32, 32), COLOURS, 40).state_dict()


@pytest.mark.parametrize(("published", "side"), [(AsPublished(), 224), (AsPublished(side=64), 64)])
def test_the_size_of_the_weights_or_another_one(published: AsPublished, side: int) -> None:
    network = build_network("resnet18", images(1, 28, 28), 2, published)
    assert isinstance(network[0], Normalise)  # type: ignore[index]
    assert network[0](torch.zeros(1, 1, 28, 28)).shape == (1, 3, side, side)  # type: ignore[index,operator]


def test_a_transformer_is_built_for_the_size() -> None:
    network = build_network("vit_b_32", images(3, 32, 32), 2, AsPublished(side=64))
    assert network.state_dict()["model.encoder.pos_embedding"].shape[1] == 5


def test_networks_of_ours_scale_as_ever() -> None:
    network = build_network("mlp", vectors(4), 2, AsPublished())
    assert isinstance(network[0], Scale)  # type: ignore[index]
