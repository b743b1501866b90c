"""A row of layers between which gates let some units through and others not."""

import torch
from torch import Tensor, nn

from redwood.methods.networks.row import LAYERS, layers_of, parts_of


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
