"""Progressive neural networks (Rusu et al., 2016)."""

from copy import deepcopy
from dataclasses import dataclass
from typing import ClassVar, Self

from torch import Tensor, nn
from typing_extensions import override

from redwood.core.seeding import preserved_random_state, seed_everything
from redwood.core.state import State
from redwood.methods.architecture.network_per_phase import NetworkPerPhase
from redwood.methods.base import Composition
from redwood.methods.networks.row import Layer, as_row, layers_of, parts_of
from redwood.methods.training.layers import set_dropout, without_warning_of_frozen_parts
from redwood.settings.phase import Phase


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
                if not isinstance(part, Layer):
                    h = part(h)
                    continue
                inputs.append(h)
                h, i = part(h), len(inputs) - 1
                for j in range(k if i else 0):
                    h = h + self.laterals.get_submodule(f"{k}.{i - 1}.{j}")(read[j][i])
            read.append(inputs)
        return h


def without_bias(layer: Layer) -> Layer:
    """A new layer of the same shape, with weights drawn as those of any new layer."""
    lateral = deepcopy(layer)
    lateral.register_parameter("bias", None)
    lateral.reset_parameters()
    return lateral


@dataclass
class PNN(NetworkPerPhase):
    """Add a column for each task, which also reads the hidden layers of the earlier, frozen ones (equation 1).

    Each column is a whole network (`--model`); columns of a module given from Python all start as it is given. The
    lateral connections are plain layers from the second layer on, that is without the paper's adapters (equation 2).
    The network grows with the square of the number of tasks. A new column starts with a new optimizer, whatever
    `optimizer_state` says.
    """

    composition: ClassVar[Composition] = Composition.NEVER
    multi_label: ClassVar[bool] = True

    @override
    def make_network(self) -> nn.Module:
        return ProgressiveNetwork(as_row(super().make_network(), self))

    @property
    def progressive(self) -> ProgressiveNetwork:
        """The network, with its type."""
        assert isinstance(self.network, ProgressiveNetwork)
        return self.network

    @override
    def begin(self, phase: Phase) -> None:
        super().begin(phase)
        self._grow(self.phase_count + 1)

    @override
    def fit(self, phase: Phase) -> None:
        with without_warning_of_frozen_parts():
            super().fit(phase)

    def _grow(self, n_columns: int) -> None:
        while len(self.progressive.columns) < n_columns:
            with preserved_random_state():
                seed_everything(self.setting.seed, "column", len(self.progressive.columns))
                self.progressive.add(self._new_column())
            self.network.to(self.device)
            self.flops.start_anew()
            self.kept = None

    def _new_column(self) -> nn.Module:
        column = as_row(super().make_network(), self)
        set_dropout(column, self.dropout)
        return column

    @override
    def scores_of_phase(self, x: Tensor, phase: int) -> Tensor:
        scores: Tensor = self.network(x, phase)
        return scores

    @override
    def load_state_dict(self, state: State) -> None:
        self._grow(1 + max(int(name.split(".")[1]) for name in state["network"] if name.startswith("columns.")))
        super().load_state_dict(state)
