"""Networks in which one layer's units are read by the next layer alone, so that units can be added between them."""

from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from redwood.core.errors import InvalidOptionError
from redwood.methods.networks.row import parts_of
from redwood.methods.training.layers import ACTIVATIONS

Layer: TypeAlias = nn.Linear | nn.Conv2d
LAYERS = (nn.Linear, nn.Conv2d)

# Modules that keep units apart: no output of one unit depends on another unit.
BETWEEN = (
    *ACTIVATIONS,
    nn.Sigmoid,
    nn.Identity,
    nn.Dropout,
    nn.Dropout2d,
    nn.Flatten,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveMaxPool2d,
    nn.AdaptiveAvgPool2d,
)


class Pair(NamedTuple):
    """Two layers with nothing between them that mixes the units (channels) of the first.

    Attributes:
        layer: The layer that units can be added to.
        after: The one that reads them; of a convolution's channels, flattened, several inputs belong to each.
    """

    layer: Layer
    after: Layer

    @property
    def n_units(self) -> int:
        """The number of units of the first layer."""
        return len(self.layer.weight)


def hidden_pairs(network: nn.Module) -> list[Pair]:
    """All pairs of successive layers of a chain, from the input to the output.

    Raises:
        InvalidOptionError: If the network is no such chain, or has no hidden layer.
    """
    parts = list(parts_of(network))
    # Not subclasses, which may compute anything.
    layers = {place: part for place, part in enumerate(parts) if isinstance(part, Layer) and type(part) in LAYERS}
    places = list(layers)
    pairs = [Pair(layers[first], layers[second]) for first, second in pairwise(places)]
    known = all(
        _reads_all(pair, parts[first + 1 : second])
        for pair, (first, second) in zip(pairs, pairwise(places), strict=True)
    )
    once = len({id(parts[place]) for place in places}) == len(places)
    if not pairs or not known or not once or _has_more_weights(network, parts, places):
        raise InvalidOptionError(
            f"The network {type(network).__name__} cannot be widened: choose mlp, simple_cnn, or an nn.Sequential of "
            "your own of Linear and Conv2d layers (at least two) with only activations, pooling, dropout and Flatten "
            "between them."
        )
    return pairs


def _has_more_weights(network: nn.Module, parts: list[nn.Module], places: list[int]) -> bool:
    """True if the network has weights outside the layers of the chain; their purpose is unknown."""
    layers = {id(weights) for place in places for weights in parts[place].parameters()}
    return any(id(weights) not in layers for weights in network.parameters())


def _reads_all(pair: Pair, between: list[nn.Module]) -> bool:
    """True if the second layer reads exactly the units of the first, in their order."""
    layer, after = pair
    if not all(type(part) in BETWEEN for part in between):
        return False
    flattened = any(isinstance(part, nn.Flatten) for part in between)
    if isinstance(layer, nn.Conv2d) and isinstance(after, nn.Linear):
        return flattened and layer.groups == 1 and after.in_features % layer.out_channels == 0
    if isinstance(layer, nn.Conv2d) and isinstance(after, nn.Conv2d):
        return not flattened and layer.groups == after.groups == 1
    return isinstance(after, nn.Linear) and after.in_features == pair.n_units


def set_weight(layer: Layer, name: str, values: Tensor) -> nn.Parameter:
    """Replace a parameter of a layer by one of another shape; the new one is trained if the old one was."""
    old = getattr(layer, name)
    new = nn.Parameter(values, requires_grad=old.requires_grad)
    setattr(layer, name, new)
    n_out, n_in = layer.weight.shape[:2]
    if isinstance(layer, nn.Conv2d):
        layer.out_channels, layer.in_channels = n_out, n_in * layer.groups
    else:
        layer.out_features, layer.in_features = n_out, n_in
    return new


def take_shapes(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give the layers of a chain the shapes of the weights (by name) that will be loaded into it."""
    for name, parameter in list(network.named_parameters()):
        if parameter.shape != weights[name].shape:
            path, _, leaf = name.rpartition(".")
            layer = network.get_submodule(path)
            assert isinstance(layer, Layer)
            set_weight(layer, leaf, torch.empty_like(weights[name], device=parameter.device))
