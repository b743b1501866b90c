"""The layers of a network that read and write the same units (channels): rows of layers, and residual networks."""

import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import fx, nn
from torch.nn import functional as F

from redwood.core.errors import InvalidOptionError
from redwood.methods.networks.builtin import simple_cnn
from redwood.methods.networks.inputs import Normalise, ToThreeChannels
from redwood.methods.networks.row import BETWEEN, Layer, is_row, layers_of

if TYPE_CHECKING:
    from redwood.methods.lightning import LightningMethod

# Besides modules of `BETWEEN`: what a network may compute between layers, unit by unit.
_INPUTS = (Normalise, ToThreeChannels)
_SUMS = {operator.add, operator.iadd, torch.add, "add", "add_"}
_FUNCTIONS = {F.relu, F.gelu, F.silu, F.dropout, F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d, torch.relu}
_FLATTEN = {torch.flatten, "flatten"}


@dataclass(frozen=True)
class Use:
    """One layer, and the groups of units that it reads and writes.

    Attributes:
        layer: A linear layer or a convolution.
        reads: The group of its inputs; None if these are the samples.
        writes: The group of its outputs; None if these are the network's.
    """

    layer: Layer
    reads: int | None
    writes: int | None


@dataclass(frozen=True)
class Units:
    """The hidden units of a network in groups: outputs of layers that are added to each other are the same units.

    Attributes:
        sizes: The number of units of each group.
        uses: The layers, in the order of a forward pass, the head last.
    """

    sizes: list[int]
    uses: list[Use]

    @property
    def hidden(self) -> list[Use]:
        """All layers but the head."""
        return self.uses[:-1]


def units_of(network: nn.Module) -> Units | None:
    """Return the units of a network; None if it combines units by anything but layers and sums."""
    if is_row(network):
        layers = layers_of(network)
        places: list[int | None] = [None, *range(len(layers) - 1), None]
        uses = [Use(layer, places[n], places[n + 1]) for n, layer in enumerate(layers)]
        return Units([len(layer.weight) for layer in layers[:-1]], uses)
    try:
        graph = _Tracer().trace(network)
        return _read(graph, network)
    except _MixesUnits:
        return None
    except Exception:  # torch.fx raises errors of many kinds where a network decides by its values
        return None


def as_units(network: nn.Module, method: "LightningMethod") -> tuple[nn.Module, Units]:
    """The network of a method that goes by units, and these. If `auto` chose a residual one, `simple_cnn` replaces it.

    Raises:
        InvalidOptionError: If the units of the network cannot be told.
    """
    if method.model.text == "auto" and not is_row(network):
        network = simple_cnn(method.setting.observation_space, method.n_outputs)
    units = units_of(network)
    if units is None:
        raise InvalidOptionError(
            f"--method {method.reference()} needs a network whose layers stand in a row or in residual blocks, and "
            f"{method.model.text} is none; choose --model mlp, simple_cnn, slim_resnet18, resnet18 or timm:resnet18."
        )
    return network, units


class _MixesUnits(Exception):
    """Units are computed from other ones, in another way than by a layer or a sum."""


class _Tracer(fx.Tracer):
    """Takes apart all modules but those that are known."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        """True if a module is one node of the graph."""
        return isinstance(module, (*BETWEEN, *_INPUTS, nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d))


class _Groups:
    """Groups of units that sums join."""

    def __init__(self) -> None:
        self._joined: list[int] = []
        self.sizes: list[int] = []

    def new(self, size: int) -> int:
        """A group of units of its own."""
        self._joined.append(len(self._joined))
        self.sizes.append(size)
        return len(self._joined) - 1

    def find(self, group: int) -> int:
        """The first of all groups that this one was joined with."""
        while self._joined[group] != group:
            group = self._joined[group]
        return group

    def join(self, one: int, other: int) -> int:
        """Make two groups one."""
        first, second = sorted((self.find(one), self.find(other)))
        if self.sizes[first] != self.sizes[second]:
            raise _MixesUnits
        self._joined[second] = first
        return first


def _read(graph: fx.Graph, network: nn.Module) -> Units:
    modules, groups = dict(network.named_modules()), _Groups()
    written: dict[fx.Node, int | None] = {}  # the group of what a node computes; None: of the samples
    uses: list[tuple[Layer, int | None, int]] = []
    last: object = None
    for node in graph.nodes:
        if node.op == "placeholder":
            written[node] = None
        elif node.op == "output":
            last = node.args[0]
        elif node.op == "call_module" and isinstance(layer := modules[node.target], Layer):
            if getattr(layer, "groups", 1) != 1 or any(layer is used for used, _, _ in uses):
                raise _MixesUnits
            uses.append((layer, written[node.args[0]], groups.new(len(layer.weight))))
            written[node] = uses[-1][2]
        else:
            written[node] = _between(node, written, groups)
    head = uses[-1] if uses else None
    if (
        head is None
        or not isinstance(last, fx.Node)
        or last.target not in modules
        or modules[last.target] is not head[0]
    ):
        raise _MixesUnits
    if len(uses) < 2 or any(groups.find(group) == groups.find(head[2]) for _, _, group in uses[:-1]):
        raise _MixesUnits
    return _numbered(uses, groups)


def _between(node: fx.Node, written: dict[fx.Node, int | None], groups: _Groups) -> int | None:
    """The group of what is computed between layers."""
    inputs = list(_nodes(node))
    if node.op in ("call_function", "call_method") and node.target in _SUMS and len(inputs) == 2:
        one, other = (written[value] for value in inputs)
        if one is None or other is None:
            raise _MixesUnits
        return groups.join(one, other)
    is_known = node.op == "call_module" or node.target in _FUNCTIONS
    is_flat = node.target in _FLATTEN and node.args[1:] in ((1,), (1, -1))
    is_pool = node.target == "mean" and node.args[1:] in (((2, 3),), ([2, 3],))
    if len(inputs) != 1 or not (is_known or is_flat or is_pool):
        raise _MixesUnits
    return written[inputs[0]]


def _nodes(node: fx.Node) -> Iterator[fx.Node]:
    for value in (*node.args, *node.kwargs.values()):
        if isinstance(value, fx.Node):
            yield value


def _numbered(uses: list[tuple[Layer, int | None, int]], groups: _Groups) -> Units:
    """The units with the groups numbered in the order in which they are written."""
    numbers: dict[int, int] = {}
    for _, _, group in uses[:-1]:
        numbers.setdefault(groups.find(group), len(numbers))
    found = [
        Use(
            layer,
            None if reads is None else numbers[groups.find(reads)],
            numbers.get(groups.find(writes)),
        )
        for layer, reads, writes in uses
    ]
    return Units([groups.sizes[group] for group in numbers], found)
