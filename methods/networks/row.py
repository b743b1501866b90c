"""Networks whose layers stand in a row: what a layer reads is what the layer before has made, unit by unit."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.pooling import _AdaptiveAvgPoolNd, _AdaptiveMaxPoolNd, _AvgPoolNd, _MaxPoolNd

from redwood.methods.networks.scale import Scale
from redwood.methods.networks.simple_cnn import simple_cnn
from redwood.methods.training.dropout import ACTIVATIONS
from redwood.settings.errors import InvalidOptionError

if TYPE_CHECKING:
    from redwood.methods.lightning import LightningMethod

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)

# What keeps units (channels) apart: what becomes of one depends on no other.
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


def layers_of(network: nn.Module) -> list[nn.Module]:
    """The linear layers and convolutions of a row, the head last."""
    return [part for part in parts_of(network) if isinstance(part, LAYERS)]


def is_row(network: nn.Module) -> bool:
    """Whether a network is nothing but a row of at least two layers, which ends in a linear one."""
    layers = layers_of(network)
    flat = True
    for part in parts_of(network):
        if isinstance(part, nn.Linear) and not flat:
            return False
        if not isinstance(part, LAYERS + BETWEEN) or getattr(part, "groups", 1) != 1:
            return False
        flat = isinstance(part, nn.Linear | nn.Flatten) or (flat and not isinstance(part, LAYERS))
    return len(layers) >= 2 and len(set(layers)) == len(layers) and isinstance(layers[-1], nn.Linear)


def as_row(network: nn.Module, method: "LightningMethod") -> nn.Module:
    """The network of a method that needs a row; for `auto`, a convolutional one where it would be none.

    Raises:
        InvalidOptionError: If the network is no row.
    """
    if method.model == "auto" and not is_row(network):
        setting = method.setting
        network = simple_cnn(setting.observation_space, int(setting.action_space.n))  # type: ignore[arg-type, attr-defined]
    if not is_row(network):
        name = method.model if isinstance(method.model, str) else type(network).__name__
        raise InvalidOptionError(
            f"--method {method.reference()} needs a network whose layers stand in a row, and {name} is none; choose "
            "--model mlp, simple_cnn or, from Python, an nn.Sequential of linear layers and convolutions."
        )
    return network
