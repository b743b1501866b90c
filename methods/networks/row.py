"""Networks whose layers stand in a row: what a layer reads is what the layer before has made, unit by unit."""

from collections.abc import Iterator
from copy import deepcopy
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.pooling import _AdaptiveAvgPoolNd, _AdaptiveMaxPoolNd, _AvgPoolNd, _MaxPoolNd

from redwood.core.errors import InvalidOptionError
from redwood.methods.networks.builtin import Scale, simple_cnn
from redwood.methods.training.layers import ACTIVATIONS

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
        network = simple_cnn(setting.observation_space, method.n_outputs)
    if not is_row(network):
        name = method.model if isinstance(method.model, str) else type(network).__name__
        raise InvalidOptionError(
            f"--method {method.reference()} needs a network whose layers stand in a row, and {name} is none; choose "
            "--model mlp, simple_cnn or, from Python, an nn.Sequential of linear layers and convolutions."
        )
    return network


class GatedNetwork(nn.Module):
    """Multiplies the units (channels) of each hidden layer, as the next layer reads them, by a gate in [0, 1].

    Attributes:
        body: The row of layers.
        embeddings: For each hidden layer a vector (units,) that the gates are made of; at first all gates are open.
        scale: How steep the soft gates are (s).
    """

    def __init__(self, body: nn.Module) -> None:
        """Put gates between the layers of `body`, which has to be a row (see `redwood.methods.networks.row`)."""
        super().__init__()
        self.body = body
        hidden = layers_of(body)[:-1]
        self.embeddings = nn.ParameterList([torch.ones(len(layer.weight)) for layer in hidden])  # type: ignore[arg-type]
        self.scale = 1.0

    def soft_gates(self) -> list[Tensor]:
        """sigma(s e) for each hidden layer."""
        return [torch.sigmoid(self.scale * embedding) for embedding in self.embeddings]

    def hard_gates(self) -> list[Tensor]:
        """Whether each unit's gate is more open than closed (bool), for each hidden layer."""
        return [embedding.detach() > 0 for embedding in self.embeddings]

    def forward(self, x: Tensor, gates: list[Tensor] | None = None) -> Tensor:
        """Scores (B, K) of samples (B, ...); by default the gates are soft in training and hard in evaluation."""
        if gates is None:
            gates = self.soft_gates() if self.training else self.hard_gates()
        closed = iter(gates)
        is_first = True
        for part in parts_of(self.body):
            if isinstance(part, LAYERS):
                x = x if is_first else x * per_input(next(closed), x.shape[1]).view(-1, *[1] * (x.dim() - 2))
                is_first = False
            x = part(x)
        return x


def per_input(values: Tensor, n_inputs: int) -> Tensor:
    """A value (units,) for each of the inputs (n_inputs,) of the layer that reads the units.

    Of a convolution's channels, flattened, several successive inputs belong to each.
    """
    return values.repeat_interleave(n_inputs // len(values))


class ProgressiveNetwork(nn.Module):
    """A row of layers per column; from the second layer on, each also reads what its like in earlier columns reads.

    h_i^k = f(W_i^k h_(i-1)^k + sum over j < k of U_i^(k:j) h_(i-1)^j), equation 1, with lateral layers U that are of
    the shape of W, without a bias.

    Attributes:
        columns: Rows of equally many layers of equal shapes; all but the last are frozen, and in evaluation mode.
        laterals: For each column, each of its layers but the first, and each earlier column one layer.
    """

    def __init__(self, column: nn.Module) -> None:
        """Start with one column."""
        super().__init__()
        # Before the columns, so that the last linear layer of the network is the head of the last column.
        self.laterals = nn.ModuleList()
        self.columns = nn.ModuleList()
        self.add(column)

    def add(self, column: nn.Module) -> None:
        """Freeze all that there is, and add a column, with lateral layers from torch's global generator."""
        self.requires_grad_(False).eval()
        laterals = nn.ModuleList()
        for layer in layers_of(column)[1:]:
            laterals.append(nn.ModuleList(without_bias(layer) for _ in self.columns))
        self.laterals.append(laterals)
        self.columns.append(column)
        self.train()

    def train(self, mode: bool = True) -> Self:
        """Switch the last column to training mode, or back; the others do not change any more."""
        super().train(mode)
        for column in self.columns[:-1]:
            column.eval()
        return self

    def forward(self, x: Tensor, column: int | None = None) -> Tensor:
        """Scores (B, K) of samples (B, ...) by one of the columns, by default the last."""
        last = len(self.columns) - 1 if column is None else column
        read: list[list[Tensor]] = []
        for k in range(last + 1):
            h, inputs = x, []
            for part in parts_of(self.columns[k]):
                if not isinstance(part, LAYERS):
                    h = part(h)
                    continue
                inputs.append(h)
                h, i = part(h), len(inputs) - 1
                for j in range(k if i else 0):
                    h = h + self.laterals[k][i - 1][j](read[j][i])  # type: ignore[index]
            read.append(inputs)
        return h


def without_bias(layer: nn.Module) -> nn.Module:
    """A new layer of the same shape, with weights drawn as those of any new layer."""
    lateral = deepcopy(layer)
    lateral.bias = None  # type: ignore[assignment]
    lateral.reset_parameters()  # type: ignore[operator]
    return lateral
