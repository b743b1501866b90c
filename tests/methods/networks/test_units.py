"""Which layers read and write the same units."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from redwood.methods.networks import build_network
from redwood.methods.networks.units import Units, units_of
from tests.methods.networks.spaces import images

SPACE = images(3, 32, 32)


def units(name: str) -> Units | None:
    return units_of(build_network(name, SPACE, 5))


def groups(found: Units | None) -> list[tuple[int | None, int | None]]:
    assert found is not None
    return [(use.reads, use.writes) for use in found.uses]


def test_a_row() -> None:
    found = units("simple_cnn")
    assert groups(found) == [(None, 0), (0, 1), (1, 2), (2, None)]
    assert found is not None and found.sizes == [32, 64, 128]


@pytest.mark.parametrize("name", ["slim_resnet18", "resnet18", "timm:resnet18", "cifar_resnet18"])
def test_what_is_added_are_the_same_units(name: str) -> None:
    """Stem and both blocks of the first stage write one group; each later stage has one, with its shortcut."""
    found = groups(units(name))
    assert found[:5] == [(None, 0), (0, 1), (1, 0), (0, 2), (2, 0)]
    second = found[5:10]
    stage = second[1][1]
    assert {writes for _, writes in second if writes == stage} and [writes for _, writes in second].count(stage) == 3
    assert (0, stage) in second  # the convolution of the shortcut
    assert found[-1] == (found[-2][1], None)


def test_bottlenecks() -> None:
    found = units("resnet50")
    assert found is not None and found.sizes.count(2048) == 1 and len(found.uses) == 54


@pytest.mark.parametrize("name", ["densenet121", "mobilenet_v3_small", "timm:test_vit", "timm:test_convnext"])
def test_networks_that_mix_units(name: str) -> None:
    assert units(name) is None


class Network(nn.Module):
    """Two layers and a head; a subclass says what is between them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)
        self.gain = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.first(x)
        scores: Tensor = self.head(self.between(h, x))
        return scores

    def between(self, h: Tensor, x: Tensor) -> Tensor:
        added: Tensor = F.relu(self.second(h)) + h
        return added


class AddsSamples(Network):
    def between(self, h: Tensor, x: Tensor) -> Tensor:
        added: Tensor = self.second(h) + x
        return added


class Scales(Network):
    def between(self, h: Tensor, x: Tensor) -> Tensor:
        return h * self.gain


class CallsTwice(Network):
    def between(self, h: Tensor, x: Tensor) -> Tensor:
        twice: Tensor = self.second(self.second(h))
        return twice


class Decides(Network):
    def between(self, h: Tensor, x: Tensor) -> Tensor:
        return h if h.sum() > 0 else self.second(h)


class Rolls(Network):
    def between(self, h: Tensor, x: Tensor) -> Tensor:
        return h.roll(1, 1)


class AfterHead(Network):
    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.second(self.first(x)))
        return scores.softmax(1)


def test_a_network_of_the_users() -> None:
    assert groups(units_of(Network())) == [(None, 0), (0, 0), (0, None)]


@pytest.mark.parametrize("cls", [AddsSamples, Scales, CallsTwice, Decides, Rolls, AfterHead])
def test_networks_of_the_users_that_do_something_else(cls: type[Network]) -> None:
    assert units_of(cls()) is None
