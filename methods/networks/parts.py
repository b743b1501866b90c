"""The network of a method as a part: `--model` chooses it; its options set its initial and its trainable weights."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gymnasium.spaces import Box
from torch import Tensor, nn
from typing_extensions import override

from redwood.core.checks import check_range
from redwood.core.errors import InvalidOptionError
from redwood.core.parts import Choice, Kind, Part, is_described_part
from redwood.core.registry import names_code
from redwood.methods.networks import NETWORKS, TIMM, adapt_module, build_network
from redwood.methods.networks.builtin import mlp
from redwood.methods.networks.factory import made_network, makes_networks, refuse_no_module
from redwood.methods.networks.inputs import AsPublished
from redwood.methods.networks.trainable import TRAINABLE
from redwood.methods.networks.weights import load_weights

NAME = {"cmd": False}


@dataclass
class NetworkPart(Part):
    """The network of a method."""

    @property
    @override
    def text(self) -> str:
        """The name of the network, also for messages."""
        return "auto"

    @abstractmethod
    def build(self, space: Box, n_outputs: int) -> nn.Module:
        """The network as it is without a file of weights; what is drawn comes from torch's global generator.

        Args:
            space: Space of one observation.
            n_outputs: Number of scores.
        """

    @property
    def file(self) -> Path | None:
        """The file of weights that it starts from, if there is one."""
        return None

    def make(self, space: Box, n_outputs: int, *, reads: bool, start: Mapping[str, Tensor] | None = None) -> nn.Module:
        """The network with its weights, of which what is not trained is frozen.

        Args:
            space: Space of one observation.
            n_outputs: Number of scores.
            reads: Whether a file of weights is read; not if the state of the trained network follows.
            start: The state that a given module had at the start of the run, if that is over.
        """
        network = self.build(space, n_outputs)
        if start is not None:
            network.load_state_dict(start)
        if self.file is not None and reads:
            load_weights(network, self.text, self.file, space)
        self.freeze(network, space)
        return network

    def freeze(self, network: nn.Module, space: Box) -> None:
        """Freeze what is not trained, in place."""
        trainable: Any = getattr(self, "trainable", None)
        if trainable is not None:
            trainable.freeze(network, space, self.text)

    def refuse_more(self, whose: str, reason: str) -> None:
        """Raise `InvalidOptionError` if more than a network is chosen: its weights, its input or what is trained.

        Args:
            whose: The name of a method that makes other use of networks.
            reason: What it does, as a clause after a comma.
        """
        for name, usual in (("weights", ""), ("input_size", 0), ("trainable", TRAINABLE.make("all"))):
            value = getattr(self, name, usual)
            if value != usual:
                shown = TRAINABLE.text_of(value) if isinstance(value, Part) else value
                raise InvalidOptionError(f"--{name} {shown} does not go with {whose}, {reason}; leave it out.")


@dataclass
class Network(NetworkPart):
    """A network by its name, or your own function that makes a network."""

    name: str = field(default="auto", metadata=NAME)
    weights: str = ""  # file of initial weights: safetensors or a state dict (none: random)
    trainable: Choice = TRAINABLE.chosen("all")  # part of the network that is trained

    @property
    @override
    def text(self) -> str:
        return self.name

    @property
    @override
    def file(self) -> Path | None:
        return Path(self.weights) if self.weights else None

    @property
    def published(self) -> AsPublished | None:
        """The input form of a network of torchvision or timm; None: values in [-1, 1], images unchanged."""
        return AsPublished() if self.weights else None

    @override
    def build(self, space: Box, n_outputs: int) -> nn.Module:
        return build_network(self.name, space, n_outputs, self.published)


@dataclass
class PublishedNetwork(Network):
    """A network of torchvision or timm.

    With `weights` or `input_size`, colours are normalised and images resized as published weights need it.
    """

    input_size: int = 0  # height and width that images get (0: with weights, their own size; else as they are)

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "input_size", 0)

    @property
    @override
    def published(self) -> AsPublished | None:
        if not self.weights and not self.input_size:
            return None
        return AsPublished(side=self.input_size, has_weights=bool(self.weights))


@dataclass
class MultiLayerPerceptron(Network):
    """Hidden layers of linear units."""

    name: str = field(default="mlp", metadata=NAME)
    widths: list[int] = field(default_factory=lambda: [256, 256])  # units of each hidden layer
    mean: float = 0.5  # mean of the inputs after their bounds have become 0 and 1
    deviation: float = 0.5  # standard deviation of the inputs after their bounds have become 0 and 1

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.widths or any(not isinstance(width, int) or width < 1 for width in self.widths):
            shown = " ".join(map(str, self.widths))
            raise InvalidOptionError(
                f"--widths {shown} has to be a number of units for each hidden layer; give 256 256."
            )
        check_range(self, "mean", -1e9, 1e9)
        check_range(self, "deviation", 1e-9, 1e9)

    @override
    def build(self, space: Box, n_outputs: int) -> nn.Module:
        return mlp(space, n_outputs, widths=tuple(self.widths), mean=self.mean, deviation=self.deviation)


@dataclass
class GivenNetwork(NetworkPart):
    """A module from Python, of which each run trains a copy."""

    module: Any = field(default=None, metadata=NAME)
    trainable: Choice = TRAINABLE.chosen("all")  # part of the network that is trained

    @property
    @override
    def text(self) -> str:
        return f"<{type(self.module).__name__}, given from Python>"

    @override
    def build(self, space: Box, n_outputs: int) -> nn.Module:
        return adapt_module(self.module, space, n_outputs)


@dataclass
class MadeNetwork(NetworkPart):
    """A class or a function from Python, which makes the network of each run: its weights follow from the seed."""

    maker: Any = field(default=None, metadata=NAME)
    trainable: Choice = TRAINABLE.chosen("all")  # part of the network that is trained

    @property
    @override
    def text(self) -> str:
        return f"<{self.maker.__name__}, given from Python>"

    @override
    def build(self, space: Box, n_outputs: int) -> nn.Module:
        return adapt_module(made_network(self.maker, self.maker.__name__, space, n_outputs), space, n_outputs)


class _Models(Kind):
    """Networks by name, those of torchvision and timm, functions of users, and modules or classes from Python."""

    @override
    def names(self) -> list[str]:
        return [*NETWORKS, *super().names()]

    @override
    def find(self, text: str) -> type[Part]:
        if text == "mlp":
            return MultiLayerPerceptron
        if text.startswith(TIMM):
            return PublishedNetwork
        if text in NETWORKS or names_code(text):
            return Network
        return super().find(text) if text in super().names() else PublishedNetwork

    @override
    def choices(self) -> dict[str, type[Part]]:
        return super().choices() | {"resnet18": PublishedNetwork, f"{TIMM}resnet18": PublishedNetwork}

    @override
    def make(self, value: object, usual: Part | None = None) -> Part:
        if isinstance(value, nn.Module):
            return GivenNetwork(value)
        is_part = isinstance(value, self.base) or (isinstance(value, type) and issubclass(value, self.base))
        if not is_part and makes_networks(value):
            return MadeNetwork(value)
        if not (is_part or isinstance(value, str) or is_described_part(value)):
            refuse_no_module(value)
        return super().make(value, usual)

    @override
    def told(self, text: str) -> Mapping[str, object]:
        return {"name": text} if issubclass(self.find(text), Network) else {}


MODELS = _Models("model", NetworkPart, "redwood.models")
