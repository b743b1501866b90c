"""Progressive neural networks (Rusu et al., 2016)."""

import warnings
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from typing_extensions import override

from redwood.core.seeding import preserved_random_state, seed_everything
from redwood.core.state import State
from redwood.methods.architecture.network_per_phase import NetworkPerPhase
from redwood.methods.base import Composition
from redwood.methods.networks.row import ProgressiveNetwork, as_row
from redwood.methods.training.layers import set_dropout
from redwood.settings.phase import Phase


@dataclass
class PNN(NetworkPerPhase):
    """Add a column for each task, which also reads the hidden layers of the earlier, frozen ones (equation 1).

    Each column is a whole network (`--model`); columns of a module given from Python all start as it is given. The
    lateral connections are plain layers from the second layer on, that is without the paper's adapters (equation 2).
    The network grows with the square of the number of tasks. A new column starts with a new optimizer, whatever
    `optimizer_state` says.
    """

    composition: ClassVar[Composition] = Composition.NEVER

    def make_network(self) -> nn.Module:
        """The first column."""
        return ProgressiveNetwork(as_row(super().make_network(), self))

    @property
    def progressive(self) -> ProgressiveNetwork:
        """The network, as what it is."""
        assert isinstance(self.network, ProgressiveNetwork)
        return self.network

    def begin(self, phase: Phase) -> None:
        """Add a column, unless it is the first phase."""
        super().begin(phase)
        self._grow(self.phase_count + 1)

    def fit(self, phase: Phase) -> None:
        """Train the last column."""
        with warnings.catch_warnings():
            # Those of the frozen columns, as it should be.
            warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode")
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

    def scores_of_phase(self, x: Tensor, phase: int) -> Tensor:
        """Scores (B, K) by the column of the phase."""
        scores: Tensor = self.network(x, phase)
        return scores

    @override
    def load_state_dict(self, state: State) -> None:
        self._grow(1 + max(int(name.split(".")[1]) for name in state["network"] if name.startswith("columns.")))
        super().load_state_dict(state)
