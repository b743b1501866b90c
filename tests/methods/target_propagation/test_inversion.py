import pytest
import torch
from torch import nn

from redwood.core.errors import InvalidOptionError
from redwood.methods.target_propagation.inversion import invert
from tests.methods.helpers import one_sentence

# A layer, and the shape of a sample that it takes.
LAYERS = {
    "linear": (nn.Linear(6, 4), (6,)),
    "convolution": (nn.Conv2d(2, 3, 3, padding=1), (2, 8, 8)),
    "stride that leaves a rest": (nn.Conv2d(2, 3, 3, stride=2, padding=1), (2, 8, 7)),
    "groups": (nn.Conv2d(4, 6, 3, groups=2), (4, 8, 8)),
    "dilation": (nn.Conv2d(2, 3, 3, dilation=2), (2, 8, 8)),
    "ReLU": (nn.ReLU(), (6,)),
    "pooling": (nn.MaxPool2d(2), (3, 8, 8)),
    "pooling that leaves a rest": (nn.MaxPool2d(2), (3, 7, 5)),
    "pooling with overlap": (nn.MaxPool2d(3, stride=2, padding=1), (3, 8, 8)),
    "pooling, rounded up": (nn.MaxPool2d(2, ceil_mode=True), (3, 7, 7)),
    "flattening": (nn.Flatten(), (3, 4, 2)),
    "block": (nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()), (2, 8, 8)),
}


@pytest.mark.parametrize("name", LAYERS)
class TestWaysBack:
    def test_they_lead_from_the_output_space_to_the_input_space(self, name):
        layer, shape = LAYERS[name]
        x = torch.randn(5, *shape)
        y = layer(x)
        assert invert(layer).at(x)(y).shape == x.shape

    def test_with_the_layers_own_weights_they_are_backpropagation(self, name):
        """Their Jacobian can be the transposed one of the layer; training has to find the weights only."""
        layer, shape = LAYERS[name]
        inverse = invert(layer)
        weights = [p for p in layer.parameters() if p.dim() > 1]
        with torch.no_grad():
            for mine, others in zip(inverse.parameters(), weights, strict=True):
                mine.copy_(others.T if others.dim() == 2 else others)
        x = torch.randn(5, *shape, requires_grad=True)
        y = layer(x)
        change = torch.randn_like(y)
        (expected,) = torch.autograd.grad(y, x, change)
        way = inverse.at(x.detach())
        torch.testing.assert_close(way(y + change) - way(y), expected, rtol=1e-4, atol=1e-5)
        assert bool(expected.any())

    def test_the_layers_weights_are_none_of_theirs(self, name):
        layer, _ = LAYERS[name]
        own = {p.data_ptr() for p in invert(layer).parameters()}
        assert len(own) == sum(p.dim() > 1 for p in layer.parameters())
        assert not own & {p.data_ptr() for p in layer.parameters()}


def test_the_way_back_through_elu_is_elu():
    y = torch.linspace(-3, 3, 7)
    assert torch.equal(invert(nn.ELU(alpha=2.0)).at(y)(y), nn.functional.elu(y, alpha=2.0))


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm1d(3),
        nn.Dropout(),
        nn.Sequential(nn.Linear(2, 2), nn.Tanh()),
        nn.Conv2d(1, 1, 3, padding="same"),
        nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"),
    ],
)
def test_other_layers_are_refused(layer):
    with pytest.raises(InvalidOptionError, match="knows no way back through") as raised:
        invert(layer)
    assert one_sentence(raised.value)
