"""HAT (Serra et al., 2018, "Overcoming Catastrophic Forgetting with Hard Attention to the Task")."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from typing_extensions import override

from redwood.core.checks import check_range
from redwood.core.seeding import generator
from redwood.methods.architecture.masked_update import MaskedUpdate
from redwood.methods.architecture.network_per_phase import NetworkPerPhase
from redwood.methods.networks.units import Units, as_units
from redwood.methods.training.step import Step
from redwood.settings.streams.phase import Phase
from redwood.settings.supervised import SupervisedSetting

# Bounds of s * e and of e in the authors' code: beyond them, cosh overflows and gates no longer learn.
MAX_EXPONENT = 50.0
MAX_EMBEDDING = 6.0


class GatedNetwork(nn.Module):
    """Multiplies hidden units (channels), as each layer reads them, by a gate in [0, 1].

    The outputs of layers that are added to each other, as in a residual block, are the same units: they share a gate.

    Attributes:
        body: The network.
        units: Which layers read and write which units.
        embeddings: For each group of units a vector (units,) that the gates are made of; at first all gates are open.
        scale: How steep the soft gates are (s).
        max_scale: How steep they get (s_max).
        gates: The gates of the forward pass that is being computed, for each group of units.
    """

    def __init__(self, body: nn.Module, units: Units) -> None:
        """Put gates before the layers of `body`, whose `units` they open and close."""
        super().__init__()
        self.body = body
        self.units = units
        self.embeddings = nn.ParameterList([torch.ones(size) for size in units.sizes])
        self.scale = self.max_scale = 1.0
        self.gates: list[Tensor] = []
        for use in units.uses:
            if use.reads is not None:
                use.layer.register_forward_pre_hook(ReadsThroughGate(self, use.reads))

    def soft_gates(self) -> list[Tensor]:
        """sigma(s e) for each group of units; the gradient that comes through them is compensated for s."""
        return [torch.sigmoid(self.scale * self._compensated(embedding)) for embedding in self.embeddings]

    def _compensated(self, embedding: Tensor) -> Tensor:
        """Return the embedding with a compensated gradient for this use alone; other terms may use it as it is."""
        used = embedding.view_as(embedding)
        if used.requires_grad:
            factor = compensation(embedding.detach(), self.scale, self.max_scale)
            used.register_hook(lambda gradient: gradient * factor)
        return used

    def hard_gates(self) -> list[Tensor]:
        """Return for each group of units which gates are more open than closed (bool, (units,))."""
        return [embedding.detach() > 0 for embedding in self.embeddings]

    def forward(self, x: Tensor, gates: list[Tensor] | None = None) -> Tensor:
        """Scores (B, K) of samples (B, ...); by default the gates are soft in training and hard in evaluation."""
        if gates is None:
            gates = self.soft_gates() if self.training else self.hard_gates()
        self.gates = gates
        scores: Tensor = self.body(x)
        self.gates = []
        return scores


class ReadsThroughGate:
    """Forward hook of a layer of a gated network: multiplies its input by the gates of a group of units.

    A class, so that the layers of a copy of the network read through the gates of the copy.
    """

    def __init__(self, network: GatedNetwork, group: int) -> None:
        """Read the units of `group`."""
        self._network = network
        self._group = group

    def __call__(self, layer: nn.Module, args: tuple[Tensor, ...]) -> Tensor | None:
        """The input (B, units, ...) that the layer gets; outside a forward pass of the whole network as it is."""
        if not self._network.gates:
            return None
        x = args[0]
        return x * per_input(self._network.gates[self._group], x.shape[1]).view(-1, *[1] * (x.dim() - 2))


def per_input(values: Tensor, n_inputs: int) -> Tensor:
    """A value (units,) for each of the inputs (n_inputs,) of the layer that reads the units.

    Of a convolution's channels, flattened, several successive inputs belong to each.
    """
    return values.repeat_interleave(n_inputs // len(values))


def compensation(embedding: Tensor, scale: float, max_scale: float) -> Tensor:
    """Factor of the gradient of `embedding`: s_max (cosh(s e) + 1) / (s (cosh(e) + 1)), section 2.5.

    The steepness s of the gates drops out: the gradient becomes s_max times that of sigma(e).
    """
    steep = torch.cosh((scale * embedding).clamp(-MAX_EXPONENT, MAX_EXPONENT)) + 1
    return max_scale / scale * steep / (torch.cosh(embedding) + 1)


@dataclass
class HAT(NetworkPerPhase):
    """Train a gate for each hidden unit and task with the weights; weights between units with open gates are frozen.

    The gates a = sigma(s e) multiply the units (section 2.2). The steepness s grows from 1 / s_max to s_max within each
    epoch (2.4), and the gradient of e is compensated for it (2.5). A weight between two units that earlier tasks use
    is no longer trained (2.3). The loss has a price for units that no earlier task uses (2.6).

    In a residual network the outputs of layers that are added are the same units, with one gate each. Every layer reads
    them through the gates, the shortcut's convolution and the head, too; the sum itself goes on ungated. A weight that
    writes to a used unit is frozen in all layers of the sum, so the unit's value in an old task never changes.

    Two things differ from the paper. At the end of a task its gates become 0 or 1, by the sign of e. The paper keeps
    sigma(s_max e), which is almost 0 or 1, so old tasks change a little there. Each task has its own copy of the last
    layer, and of normalisation with its statistics.

    In one pass over a few dozen batches fine-tuning is better. The gates are nearly closed in half of the batches,
    little is forgotten, and later tasks gain from training the weights that HAT freezes.

    Attributes:
        gates: For each phase that is over and each group of units, the units with open gates (bool, (units,)).
        used: For each group of units, the units that finished phases use (bool, (units,)).
    """

    multi_label: ClassVar[bool] = True
    brings: ClassVar[frozenset[str]] = frozenset({"gates"})

    hat_smax: float = 400.0  # steepness s_max of the gates at the end of each epoch
    hat_lambda: float = 0.75  # price of using units that no earlier task uses

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "hat_smax", 1)
        check_range(self, "hat_lambda", 0)

    @override
    def configure(self, setting: SupervisedSetting) -> None:
        super().configure(setting)
        self.gates: list[list[Tensor]] = self.add_state("gates", [], buffer=True)
        self.used = self.add_state("used", self._used())
        self._frozen = MaskedUpdate(self.frozen)

    @override
    def make_network(self) -> nn.Module:
        network = GatedNetwork(*as_units(super().make_network(), self))
        network.max_scale = self.hat_smax
        return network

    @property
    def gated(self) -> GatedNetwork:
        """The network, with its type."""
        assert isinstance(self.network, GatedNetwork)
        return self.network

    def _used(self) -> list[Tensor]:
        unused = [torch.zeros_like(gates) for gates in self.gated.hard_gates()]
        return [torch.stack(gates).any(0) for gates in zip(unused, *self.gates, strict=True)]

    def frozen(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Entries that must not change: weights between units in use, and biases of units in use."""
        for use in self.gated.units.hidden:
            assert use.writes is not None
            layer, outputs = use.layer, self.used[use.writes]
            weight = layer.weight
            inputs = torch.ones_like(outputs[:1]) if use.reads is None else self.used[use.reads]
            both = outputs[:, None] & per_input(inputs, weight.shape[1])
            yield weight, both.view(*both.shape, *[1] * (weight.dim() - 2)).expand_as(weight)
            if layer.bias is not None:
                yield layer.bias, outputs

    @override
    def own_names(self) -> list[str]:
        # All but the hidden layers and the embeddings.
        shared = {id(p) for use in self.gated.units.hidden for p in use.layer.parameters()}
        shared |= {id(embedding) for embedding in self.gated.embeddings}
        values = self.network.state_dict(keep_vars=True)
        return [name for name, value in values.items() if id(value) not in shared]

    @override
    def names_per_task(self) -> Collection[str]:
        return [*self.own_names(), *(name for name, _ in self.network.named_parameters() if "embeddings." in name)]

    @override
    def free_entries(self) -> Mapping[str, Tensor]:
        names: dict[Tensor, str] = {parameter: name for name, parameter in self.network.named_parameters()}
        return {names[parameter]: ~frozen for parameter, frozen in self.frozen()}

    @override
    def on_train_start(self) -> None:
        super().on_train_start()
        self._frozen.freeze()

    @override
    def on_batch_start(self, batch_idx: int, n_batches: int) -> None:
        super().on_batch_start(batch_idx, n_batches)
        done = batch_idx / (n_batches - 1) if n_batches > 1 else 1.0
        low = 1 / self.hat_smax
        self.gated.scale = low + (self.hat_smax - low) * done

    @override
    @torch.no_grad()
    def on_batch_end(self, step: Step, loss: Tensor, batch_idx: int) -> None:
        super().on_batch_end(step, loss, batch_idx)
        self._frozen.restore()
        for embedding in self.gated.embeddings:
            embedding.clamp_(-MAX_EMBEDDING, MAX_EMBEDDING)

    @override
    def begin(self, phase: Phase) -> None:
        super().begin(phase)
        random = generator(self.setting.seed, "hat embeddings", self.phase_count)
        with torch.no_grad():
            for embedding in self.gated.embeddings:
                embedding.copy_(torch.randn(embedding.shape, generator=random))

    @override
    def close(self) -> None:
        super().close()
        self.gates.append(self.gated.hard_gates())
        self.used = self._used()

    @override
    def loss(self, step: Step) -> Tensor:
        return super().loss(step) + self.hat_lambda * self.price()

    def price(self) -> Tensor:
        """Sum of the soft gates of units that no earlier task uses, divided by the number of these; a scalar."""
        free = torch.cat([~used for used in self.used])
        return (torch.cat(self.gated.soft_gates()) * free).sum() / free.sum().clamp(min=1)

    @override
    def scores_of_phase(self, x: Tensor, phase: int) -> Tensor:
        scores: Tensor = functional_call(self.network, self.own_values[phase], (x, self.gates[phase]))
        return scores
