import pytest
import torch
from torch import nn

from redwood.core.errors import InvalidOptionError
from redwood.methods.networks import build_network
from redwood.methods.networks.builtin import mlp
from tests.methods.networks.spaces import images


def test_widths() -> None:
    network = build_network("mlp:widths=100-50-20", images(1, 28, 28), 10)
    shapes = [tuple(layer.weight.shape) for layer in network.modules() if isinstance(layer, nn.Linear)]
    assert shapes == [(100, 784), (50, 100), (20, 50), (10, 20)]


def test_mean_and_deviation_are_those_of_the_unit_interval() -> None:
    x = torch.arange(4, dtype=torch.uint8).view(1, 1, 2, 2) * 85
    network = build_network("mlp:mean=0.1307,deviation=0.3081", images(1, 2, 2), 10)
    torch.testing.assert_close(network.get_submodule("scale")(x), (x / 255 - 0.1307) / 0.3081)
    network = build_network("mlp:mean=0,deviation=1", images(1, 2, 2), 10)
    torch.testing.assert_close(network.get_submodule("scale")(x), x / 255)


def test_without_arguments_it_is_the_mlp() -> None:
    torch.manual_seed(0)
    usual = mlp(images(1, 8, 8), 10).state_dict()
    torch.manual_seed(0)
    written = build_network("mlp:widths=256-256,mean=0.5,deviation=0.5", images(1, 8, 8), 10).state_dict()
    assert usual.keys() == written.keys()
    assert all(torch.equal(usual[name], written[name]) for name in usual)


@pytest.mark.parametrize(
    "name",
    [
        *("mlp:", "mlp:width=3", "mlp:widths=", "mlp:widths=0", "mlp:widths=a-b", "mlp:widths=-5", "mlp:widths=1.5"),
        *("mlp:mean=x", "mlp:mean=nan", "mlp:deviation=0", "mlp:deviation=inf", "mlp:widths=3,", "mlp:x.py:f"),
    ],
)
def test_mistakes_are_told(name: str) -> None:
    with pytest.raises(InvalidOptionError, match=r"is no argument of mlp; write mlp:widths=400-400"):
        build_network(name, images(1, 8, 8), 10)


def test_an_argument_stands_once() -> None:
    with pytest.raises(InvalidOptionError, match="has widths twice"):
        build_network("mlp:widths=3,widths=4", images(1, 8, 8), 10)
