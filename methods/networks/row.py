"""Networks whose layers form a row: each layer reads the outputs of the layer before, unit by unit."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.pooling import _AdaptiveAvgPoolNd, _AdaptiveMaxPoolNd, _AvgPoolNd, _MaxPoolNd

from redwood.core.errors import InvalidOptionError
from redwood.methods.networks.builtin import Scale, simple_cnn
from redwood.methods.training.layers import ACTIVATIONS

if TYPE_CHECKING:
    from redwood.methods.lightning import LightningMethod

Layer: TypeAlias = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d

# Modules that keep units (channels) apart: no output of one unit depends on another unit.
BETWEEN = (
    *ACTIVATIONS,
    nn.Sigmoid,
    nn.Identity,
    nn.Flatten,
    Scale,
    _BatchNorm,
    _DropoutNd,
    _MaxPoolNd,
    _AvgPoolNd,
    _AdaptiveMaxPoolNd,
    _AdaptiveAvgPoolNd,
)


def parts_of(network: nn.Module) -> Iterator[nn.Module]:
    """The parts of nested `nn.Sequential`, in the order in which they are called; another network is its only part."""
    # A subclass may do more in its `forward` than call one part after the other.
    if isinstance(network, nn.Sequential) and type(network).forward is nn.Sequential.forward:
        for part in network:
            yield from parts_of(part)
    else:
        yield network


def layers_of(network: nn.Module) -> list[Layer]:
    """The linear layers and convolutions of a row, the head last."""
    return [part for part in parts_of(network) if isinstance(part, Layer)]


def is_row(network: nn.Module) -> bool:
    """True if a network is just a row of at least two layers, and the last one is linear."""
    layers = layers_of(network)
    flat = True
    for part in parts_of(network):
        if isinstance(part, nn.Linear) and not flat:
            return False
        mixes_units = not isinstance(part, Layer) and not isinstance(part, BETWEEN)
        if mixes_units or getattr(part, "groups", 1) != 1:
            return False
        flat = isinstance(part, nn.Linear | nn.Flatten) or (flat and not isinstance(part, Layer))
    return len(layers) >= 2 and len(set(layers)) == len(layers) and isinstance(layers[-1], nn.Linear)


def as_row(network: nn.Module, method: "LightningMethod") -> nn.Module:
    """The network of a method that needs a row. If `auto` has chosen another network, `simple_cnn` replaces it.

    Raises:
        InvalidOptionError: If the network is no row.
    """
    if method.model.text == "auto" and not is_row(network):
        network = simple_cnn(method.setting.observation_space, method.n_outputs)
    if not is_row(network):
        raise InvalidOptionError(
            f"--method {method.reference()} needs a network whose layers stand in a row, and "
            f"{method.model.text} is none; choose --model mlp, simple_cnn or, from Python, an nn.Sequential of "
            "linear layers and convolutions."
        )
    return network
