"""Columns that read what earlier ones have made (Rusu et al., 2016, "Progressive Neural Networks")."""

from copy import deepcopy
from typing import Self

from torch import Tensor, nn

from redwood.methods.networks.row import LAYERS, layers_of, parts_of


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
