"""Progressive neural networks (Rusu et al., 2016)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from gymnasium.spaces import Box
from torch import Tensor, nn
from typing_extensions import override

from redwood.core.errors import InvalidOptionError
from redwood.core.seeding import preserved_random_state, seed_everything
from redwood.core.state import State
from redwood.methods.architecture.network_per_phase import NetworkPerPhase
from redwood.methods.base import Composition
from redwood.methods.networks.last_layer import head_of, modules_in_order, zero_samples
from redwood.methods.networks.row import Layer, as_row, is_row, layers_of, parts_of
from redwood.methods.networks.trainable import blocks_of
from redwood.methods.training.layers import evaluating, set_dropout, without_warning_of_frozen_parts
from redwood.settings.streams.phase import Phase


class ProgressiveNetwork(nn.Module):
    """A row of layers per column; from the second on, a layer also reads the inputs of its copies in earlier columns.

    h_i^k = f(W_i^k h_(i-1)^k + sum over j < k of U_i^(k:j) h_(i-1)^j), equation 1. The lateral layers U have the shape
    of W, and no bias.

    Attributes:
        columns: Networks of equal shapes; all but the last are frozen, and in evaluation mode.
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
        self.laterals.append(self.new_laterals(column))
        self.columns.append(column)
        self.train()

    def new_laterals(self, column: nn.Module) -> nn.ModuleList:
        """The lateral layers of a new column: for each place that has some, one for each earlier column."""
        laterals = nn.ModuleList()
        for layer in layers_of(column)[1:]:
            laterals.append(nn.ModuleList(without_bias(layer) for _ in self.columns))
        return laterals

    def train(self, mode: bool = True) -> Self:
        """Switch the last column to training mode, or back; the others do not change any more."""
        super().train(mode)
        for earlier in (*self.columns[:-1], *self.laterals[:-1]):
            earlier.eval()
        return self

    def forward(self, x: Tensor, column: int | None = None) -> Tensor:
        """Scores (B, K) of samples (B, ...) by one of the columns, by default the last."""
        last = len(self.columns) - 1 if column is None else column
        read: list[list[Tensor]] = []
        for k in range(last + 1):
            scores, inputs = self.run(k, x, read)
            read.append(inputs)
        return scores

    def run(self, k: int, x: Tensor, read: Sequence[Sequence[Tensor]]) -> tuple[Tensor, list[Tensor]]:
        """Return the scores (B, K) of column `k`, and the inputs of its layers; `read` has those of earlier columns."""
        h, inputs = x, list[Tensor]()
        for part in parts_of(self.columns[k]):
            if not isinstance(part, Layer):
                h = part(h)
                continue
            inputs.append(h)
            h, i = part(h), len(inputs) - 1
            for j in range(k if i else 0):
                h = h + self.laterals.get_submodule(f"{k}.{i - 1}.{j}")(read[j][i])
        return h, inputs


class ProgressiveBlocks(ProgressiveNetwork):
    """A network of blocks per column: a block also reads the inputs of its copies in earlier columns; so does the head.

    The output of a block gets the sum of the lateral layers, after the block's own activation. For a block of
    convolutions, the lateral layer is batch normalisation and a 1 x 1 convolution of the block's stride. For any other
    block, it is a linear layer. They start at zero, so that a new column at first computes as if alone.
    """

    def __init__(self, column: nn.Module, observation_space: Box) -> None:
        """Start with one column.

        Raises:
            InvalidOptionError: If there is a block without a lateral layer of its shape.
        """
        self._space = observation_space
        self._places = places_of(column, observation_space)
        super().__init__(column)

    @override
    def new_laterals(self, column: nn.Module) -> nn.ModuleList:
        blocks = [column.get_submodule(name) for name in self._places]
        with torch.no_grad(), evaluating(column), calls_of(blocks) as calls:
            column(zero_samples(column, self._space))
        return nn.ModuleList(
            nn.ModuleList(lateral_layer(block, *call) for _ in self.columns)
            for block, call in zip(blocks, calls, strict=True)
        )

    @override
    def run(self, k: int, x: Tensor, read: Sequence[Sequence[Tensor]]) -> tuple[Tensor, list[Tensor]]:
        column = self.columns[k]
        inputs: list[Tensor] = []

        def add(block: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
            i = len(inputs)
            inputs.append(args[0])
            for j in range(k):
                output = output + self.laterals.get_submodule(f"{k}.{i}.{j}")(read[j][i])
            return output

        handles = [column.get_submodule(name).register_forward_hook(add) for name in self._places]
        try:
            return column(x), inputs
        finally:
            for handle in handles:
                handle.remove()


def places_of(network: nn.Module, observation_space: Box) -> list[str]:
    """The names of the outermost blocks of a network and of its head, in the order of a forward pass."""
    head = head_of(network, observation_space)
    blocks = [block for block in blocks_of(network) if head not in block.modules()]
    inner = {part for block in blocks for part in block.modules() if part is not block}
    order = {module: number for number, module in enumerate(modules_in_order(network, observation_space))}

    def first_call(block: nn.Module) -> int:
        return min(order.get(module, len(order)) for module in block.modules())

    places = sorted([block for block in blocks if block not in inner], key=first_call)
    names = {module: name for name, module in network.named_modules()}
    return [names[place] for place in (*places, head)] if places else []


@contextmanager
def calls_of(modules: Sequence[nn.Module]) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Within, each call of one of the modules appends its input and its output to the list."""
    calls: list[tuple[Tensor, Tensor]] = []

    def note(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        calls.append((args[0], output))

    handles = [module.register_forward_hook(note) for module in modules]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def lateral_layer(block: nn.Module, x: Tensor, y: Tensor) -> nn.Module:
    """Normalisation and a layer of zeros, without a bias: from the input `x` of a block to the shape of its output `y`.

    Raises:
        InvalidOptionError: If there is none.
    """
    lateral = nn.Sequential()
    if any(isinstance(part, nn.Conv2d) for part in block.modules()) and x.dim() == y.dim() == 4:
        strides = [-(-before // after) for before, after in zip(x.shape[2:], y.shape[2:], strict=True)]
        lateral.append(nn.BatchNorm2d(x.shape[1]))
        lateral.append(nn.Conv2d(x.shape[1], y.shape[1], 1, (strides[0], strides[1]), bias=False))
        fits = [-(-side // stride) for side, stride in zip(x.shape[2:], strides, strict=True)] == list(y.shape[2:])
    else:
        if x.dim() > 2:  # what the head reads is normalised already, or a mean
            lateral.append(nn.LayerNorm(x.shape[-1]))
        lateral.append(nn.Linear(x.shape[-1], y.shape[-1], bias=False))
        fits = x.shape[:-1] == y.shape[:-1]
    if not fits:
        raise InvalidOptionError(
            f"--method pnn cannot connect columns at a {type(block).__name__}, which maps {tuple(x.shape)} to "
            f"{tuple(y.shape)}; choose another --model, such as slim_resnet18 or resnet18."
        )
    nn.init.zeros_(lateral[-1].get_parameter("weight"))
    return lateral.to(x.device, x.dtype)


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
    In a network of blocks, such as a residual one, they lead from a block's input to its output in later columns
    (`ProgressiveBlocks`). The head has such connections, too.
    The network grows with the square of the number of tasks. A new column starts with a new optimizer, whatever
    `optimizer_state` says.
    """

    composition: ClassVar[Composition] = Composition.NEVER
    multi_label: ClassVar[bool] = True

    @override
    def make_network(self) -> nn.Module:
        column = self._make_column()
        if is_row(column):
            return ProgressiveNetwork(column)
        return ProgressiveBlocks(column, self.setting.observation_space)

    def _make_column(self) -> nn.Module:
        column = super().make_network()
        space = self.setting.observation_space
        if is_row(column) or (self.model.text != "auto" and places_of(column, space)):
            return column
        return as_row(column, self)

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
        column = self._make_column()
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
