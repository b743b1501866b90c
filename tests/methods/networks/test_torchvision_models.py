import pytest
import torch

from redwood.core.errors import InvalidOptionError
from redwood.methods.networks import build_network
from redwood.methods.networks.torchvision_models import classification_models
from tests.methods.networks.spaces import images, vectors


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "squeezenet1_1"])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_classification_model(name: str, channels: int) -> None:
    network = build_network(name, images(channels, 32, 32), 6)
    assert network.training
    assert network(torch.zeros(2, channels, 32, 32, dtype=torch.uint8)).shape == (2, 6)


def test_one_channel_is_shown_in_three() -> None:
    gray = build_network("resnet18", images(1, 32, 32), 3).eval()
    colour = build_network("resnet18", images(3, 32, 32), 3).eval()
    colour.load_state_dict(gray.state_dict())
    x = torch.randint(0, 256, (2, 1, 32, 32)).to(torch.uint8)
    torch.testing.assert_close(gray(x), colour(x.repeat(1, 3, 1, 1)))


def test_auxiliary_heads_are_off() -> None:
    network = build_network("googlenet", images(3, 32, 32), 4)
    assert network.train()(torch.zeros(2, 3, 32, 32)).shape == (2, 4)


def test_only_classification_models_are_known() -> None:
    names = classification_models()
    assert {"resnet18", "vit_b_16"} <= set(names)
    assert not [name for name in names if "mask" in name or "deeplab" in name or "r3d" in name]


@pytest.mark.parametrize(("name", "side"), [("alexnet", 32), ("vit_b_32", 32), ("inception_v3", 32)])
def test_too_small_images_are_refused(name: str, side: int) -> None:
    with pytest.raises(InvalidOptionError, match=rf"network {name} cannot take samples \(3, {side}, {side}\) uint8 \("):
        build_network(name, images(3, side, side), 10)


def test_other_channels_are_refused() -> None:
    with pytest.raises(InvalidOptionError, match="resnet18 needs images with 1 or 3 channels"):
        build_network("resnet18", images(4, 32, 32), 10)


def test_vectors_are_refused() -> None:
    with pytest.raises(InvalidOptionError, match="resnet18 needs images"):
        build_network("resnet18", vectors(16), 10)
