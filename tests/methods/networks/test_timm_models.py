"""Models of timm, by name; nothing is downloaded."""

import socket
import sys

import pytest
import torch

from redwood.core.errors import InvalidOptionError, UnknownNameError
from redwood.methods.networks import build_network
from redwood.methods.networks.inputs import AsPublished
from redwood.methods.networks.last_layer import features_of, output_layer
from tests.methods.helpers import one_sentence
from tests.methods.networks.spaces import images, vectors


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("no connection is opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("name", ["timm:test_resnet", "timm:test_vit", "timm:test_convnext"])
def test_scores_of_images_of_any_channels(name: str, channels: int) -> None:
    space = images(channels, 32, 32)
    network = build_network(name, space, 6)
    x = torch.zeros(2, channels, 32, 32, dtype=torch.uint8)
    assert network(x).shape == (2, 6)
    layer = output_layer(network, space, "x")
    assert features_of(network, x).shape == (2, layer.in_features)


def test_the_mean_and_the_size_of_the_configuration() -> None:
    network = build_network("timm:test_vit.r160_in1k", images(1, 28, 28), 3, AsPublished())
    x = network[0](torch.zeros(1, 1, 28, 28))  # type: ignore[index,operator]
    assert x.shape == (1, 3, 160, 160)
    assert torch.allclose(x, torch.full_like(x, -1.0), atol=1e-6)  # (0 - 0.5) / 0.5


def test_a_transformer_is_built_for_the_images() -> None:
    network = build_network("timm:test_vit", images(3, 32, 32), 3)
    small = build_network("timm:test_vit", images(3, 32, 32), 3, AsPublished(side=64))
    shapes = [made.state_dict()["model.pos_embed"].shape[1] for made in (network, small)]
    assert shapes == [1 + (32 // 16) ** 2, 1 + (64 // 16) ** 2]


@pytest.mark.parametrize(
    ("name", "space", "published", "sentence"),
    [
        ("timm:resnet18.a1_in1k", images(3, 32, 32), None, "names the published weights a1_in1k, and redwood"),
        ("timm:resnet18.a1_in1k", images(3, 32, 32), AsPublished(side=32, has_weights=False), "downloads none"),
        ("timm:test_vit", images(3, 28, 28), None, r"test_vit cannot take samples .*"),
        ("timm:test_resnet", vectors(16), None, "needs images"),
        ("timm:test_resnet", images(4, 32, 32), AsPublished(side=32), "needs images with 1 or 3 channels"),
    ],
)
def test_refused(name: str, space: object, published: AsPublished | None, sentence: str) -> None:
    with pytest.raises(InvalidOptionError, match=sentence) as error:
        build_network(name, space, 3, published)  # type: ignore[arg-type]
    assert one_sentence(error.value)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("timm:resnet81", "There is no network in timm named 'timm:resnet81'. Did you mean timm:resnet18"),
        (
            "timm:resnet18.a9_in1k",
            "no weights in timm named .* Did you mean .*resnet18.a[123]_in1k",
        ),
        ("timm:", "There is no network in timm named 'timm:'. .*Known: timm:convnext_tiny, "),
        ("timm:hf-hub:timm/resnet18", "There is no network in timm"),
        ("timm:/etc/passwd", "There is no network in timm"),
    ],
)
def test_unknown_names(name: str, sentence: str) -> None:
    with pytest.raises(UnknownNameError, match=sentence):
        build_network(name, images(3, 32, 32), 3, AsPublished())


def test_without_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InvalidOptionError, match=r"timm, which is not installed; pip install 'redwood\[vision\]'"):
        build_network("timm:resnet18", images(3, 32, 32), 3)
