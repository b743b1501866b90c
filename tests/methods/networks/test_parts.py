import pytest
import torch
from torch import nn

from redwood.core.errors import InvalidOptionError
from redwood.methods.networks.builtin import mlp
from redwood.methods.networks.parts import (
    MODELS,
    GivenNetwork,
    MadeNetwork,
    MultiLayerPerceptron,
    Network,
    PublishedNetwork,
)
from tests.methods.networks.spaces import images


def test_widths() -> None:
    network = MultiLayerPerceptron(widths=[100, 50, 20]).build(images(1, 28, 28), 10)
    shapes = [tuple(layer.weight.shape) for layer in network.modules() if isinstance(layer, nn.Linear)]
    assert shapes == [(100, 784), (50, 100), (20, 50), (10, 20)]


def test_mean_and_deviation_are_those_of_the_unit_interval() -> None:
    x = torch.arange(4, dtype=torch.uint8).view(1, 1, 2, 2) * 85
    network = MultiLayerPerceptron(mean=0.1307, deviation=0.3081).build(images(1, 2, 2), 10)
    torch.testing.assert_close(network.get_submodule("scale")(x), (x / 255 - 0.1307) / 0.3081)


def test_without_options_it_is_the_mlp() -> None:
    torch.manual_seed(0)
    usual = mlp(images(1, 8, 8), 10).state_dict()
    torch.manual_seed(0)
    made = MultiLayerPerceptron().build(images(1, 8, 8), 10).state_dict()
    assert usual.keys() == made.keys()
    assert all(torch.equal(usual[name], made[name]) for name in usual)


def test_what_a_text_or_a_module_chooses() -> None:
    kinds = {"auto": Network, "mlp": MultiLayerPerceptron, "resnet18": PublishedNetwork, "timm:vit": PublishedNetwork}
    kinds["nets.py:make"] = Network
    for text, part in kinds.items():
        made = MODELS.make(text)
        assert type(made) is part and made.text == text == MODELS.text_of(made)
    module = nn.Linear(1, 1)
    given = MODELS.make(module)
    assert isinstance(given, GivenNetwork) and given.module is module
    assert given.text == "<Linear, given from Python>"


class Net(nn.Sequential):
    def __init__(self, n_outputs: int) -> None:
        super().__init__(nn.Flatten(), Floats(), nn.Linear(64, n_outputs))


class Floats(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.float()


def make(observation_space: object, n_outputs: int) -> nn.Module:
    return Net(n_outputs)


@pytest.mark.parametrize("maker", [Net, make])
def test_a_class_or_a_function_makes_a_network_for_each_run(maker: object) -> None:
    part = MODELS.make(maker)
    assert isinstance(part, MadeNetwork) and part.text == f"<{maker.__name__}, given from Python>"
    space = images(1, 8, 8)
    torch.manual_seed(0)
    first, second = part.build(space, 5), part.build(space, 5)
    assert not torch.equal(first[2].weight, second[2].weight) and first[2].out_features == 5
    torch.manual_seed(0)
    assert torch.equal(part.build(space, 5)[2].weight, first[2].weight), "the seed decides"


def test_a_class_that_makes_no_network_is_told() -> None:
    with pytest.raises(InvalidOptionError, match=r"The network Linear fails \(TypeError"):
        MODELS.make(nn.Linear).build(images(1, 8, 8), 5)
