"""HAT (Serra et al., 2018, "Overcoming Catastrophic Forgetting with Hard Attention to the Task")."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.func import functional_call

from redwood.core.checks import check_range
from redwood.core.seeding import generator
from redwood.methods.architecture.network_per_phase import NetworkPerPhase
from redwood.methods.networks.row import GatedNetwork, as_row, layers_of, per_input
from redwood.methods.training.step import Step
from redwood.settings.phase import Phase
from redwood.settings.supervised import SupervisedSetting

if TYPE_CHECKING:
    from pytorch_lightning import Callback


@dataclass
class HAT(NetworkPerPhase):
    """Train a gate for each hidden unit and task along with the weights; what open gates let through stays as it is.

    The gates a = sigma(s e) multiply the units (section 2.2), and s grows from 1 / s_max to s_max within each epoch
    (2.4), for which the gradient of e is compensated (2.5). A weight between two units that earlier tasks use is no
    longer trained (2.3). Units that no earlier task uses have their price (2.6).

    Differences: at the end of a task its gates are opened or closed for good, by the sign of e; the paper keeps
    sigma(s_max e), which is almost 0 or 1, so that old tasks change a little. Of the last layer, and of normalisation
    with its statistics, each task has a copy of its own.

    In one pass over a few dozen batches fine-tuning is better: the gates are nearly closed for half of them, little is
    forgotten, and later tasks gain from training weights that are frozen here.

    Attributes:
        gates: For each phase that is over and each hidden layer which units' gates are open (bool, (units,)).
        used: For each hidden layer which units any phase uses that is over (bool, (units,)).
    """

    hat_smax: float = 400.0  # steepness s_max of the gates at the end of each epoch
    hat_lambda: float = 0.75  # price of using units that no earlier task uses

    def __post_init__(self) -> None:
        """Refuse options that are out of range."""
        super().__post_init__()
        check_range(self, "hat_smax", 1)
        check_range(self, "hat_lambda", 0)

    def configure(self, setting: SupervisedSetting) -> None:
        """Build the network; no unit is in use."""
        super().configure(setting)
        self.gates: list[list[Tensor]] = self.add_state("gates", [], buffer=True)
        self.used = self.add_state("used", self._used())

    def make_network(self) -> nn.Module:
        """The network, with gates."""
        return GatedNetwork(as_row(super().make_network(), self))

    @property
    def gated(self) -> GatedNetwork:
        """The network, as what it is."""
        assert isinstance(self.network, GatedNetwork)
        return self.network

    def _used(self) -> list[Tensor]:
        unused = [torch.zeros_like(gates) for gates in self.gated.hard_gates()]
        return [torch.stack(gates).any(0) for gates in zip(unused, *self.gates, strict=True)]

    def frozen(self) -> Iterator[tuple[nn.Parameter, Tensor]]:
        """Weights between units that are in use, and biases of such units."""
        inputs: Tensor | None = None
        for layer, outputs in zip(layers_of(self.gated.body), self.used, strict=False):
            weight: nn.Parameter = layer.weight  # type: ignore[assignment]
            row = torch.ones_like(outputs[:1]) if inputs is None else per_input(inputs, weight.shape[1])
            both = outputs[:, None] & row
            yield weight, both.view(*both.shape, *[1] * (weight.dim() - 2)).expand_as(weight)
            if layer.bias is not None:
                yield layer.bias, outputs  # type: ignore[misc]
            inputs = outputs

    def own_names(self) -> list[str]:
        """All but the hidden layers, and what the gates are made of."""
        shared = {id(p) for layer in layers_of(self.gated.body)[:-1] for p in layer.parameters()}
        shared |= {id(embedding) for embedding in self.gated.embeddings}
        values = self.network.state_dict(keep_vars=True)
        return [name for name, value in values.items() if id(value) not in shared]

    def callbacks(self) -> "Sequence[Callback]":
        """Further Lightning callbacks for each phase."""
        from redwood.methods.architecture.annealing import Annealing
        from redwood.methods.architecture.frozen_weights import FrozenWeights

        return [*super().callbacks(), FrozenWeights(self.frozen), Annealing(self.gated, self.hat_smax)]

    def begin(self, phase: Phase) -> None:
        """Draw new embeddings."""
        super().begin(phase)
        random = generator(self.setting.seed, "hat embeddings", self.phase_count)
        with torch.no_grad():
            for embedding in self.gated.embeddings:
                embedding.copy_(torch.randn(embedding.shape, generator=random))

    def close(self) -> None:
        """Open or close the gates of the phase that is over for good."""
        super().close()
        self.gates.append(self.gated.hard_gates())
        self.used = self._used()

    def loss(self, step: Step) -> Tensor:
        """The loss of the batch, and the price of units."""
        return super().loss(step) + self.hat_lambda * self.price()

    def price(self) -> Tensor:
        """Sum of the soft gates of units that no earlier task uses, divided by the number of these; a scalar."""
        free = torch.cat([~used for used in self.used])
        return (torch.cat(self.gated.soft_gates()) * free).sum() / free.sum().clamp(min=1)

    def scores_of_phase(self, x: Tensor, phase: int) -> Tensor:
        """Scores (B, K) by the units that the phase uses."""
        scores: Tensor = functional_call(self.network, self.own_values[phase], (x, self.gates[phase]))
        return scores
