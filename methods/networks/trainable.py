"""The trainable part of a network: all of it, its last block, its head, or low-rank adapters (`--trainable`)."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from gymnasium.spaces import Box
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from typing_extensions import override

from redwood.core.checks import check_range
from redwood.core.errors import InvalidOptionError
from redwood.core.parts import Kind, Part
from redwood.methods.networks.last_layer import LAYERS, head_of, modules_in_order
from redwood.methods.networks.lora import add_adapters


class KeepsStatistics:
    """Forward hook of a normalisation that stays in evaluation mode, whatever mode the network is in.

    It is a hook, not a module, so the names of the weights stay the same. It is a class, not a function, so a copy of
    the network has it, too, and can be pickled.
    """

    def __call__(self, normalisation: nn.Module, args: object) -> None:
        """Switch it to evaluation mode before it is computed."""
        if normalisation.training:
            normalisation.eval()


@dataclass
class Trainable(Part):
    """The trainable part of a network; the rest is frozen, with the statistics of its normalisations."""

    @abstractmethod
    def freeze(self, network: nn.Module, space: Box, name: str) -> None:
        """Freeze all other parameters, in place. Parameters that are frozen already stay so.

        Args:
            network: Maps samples (B, ...) in their storage dtype to scores.
            space: Space of one sample.
            name: What the sentence of an error calls the network.

        Raises:
            InvalidOptionError: If there is no such part.
        """


TRAINABLE = Kind("trainable", Trainable, "redwood.trainable")


@TRAINABLE.register("all")
@dataclass
class Whole(Trainable):
    """All of the network is trained."""

    @override
    def freeze(self, network: nn.Module, space: Box, name: str) -> None:
        pass


@TRAINABLE.register("last_block")
@dataclass
class LastBlock(Trainable):
    """The last block of the network, and all layers after it, are trained."""

    @override
    def freeze(self, network: nn.Module, space: Box, name: str) -> None:
        head = head_of(network, space)
        _freeze_all_but(
            network, _last_block(network, head, space, name), f"--trainable last_block leaves nothing of {name}"
        )


@TRAINABLE.register("head")
@dataclass
class Head(Trainable):
    """The last layer is trained."""

    @override
    def freeze(self, network: nn.Module, space: Box, name: str) -> None:
        _freeze_all_but(network, [head_of(network, space)], f"--trainable head leaves nothing of {name}")


@TRAINABLE.register("lora")
@dataclass
class LowRank(Trainable):
    """Low-rank adapters beside the layers, and the head, are trained (LoRA: Hu et al., 2022), by the package peft."""

    lora_rank: int = 8  # rank of the adapters
    lora_alpha: int = 0  # the adapters' outputs are multiplied by lora_alpha / lora_rank (0: twice the rank)
    lora_targets: list[str] = field(default_factory=list)  # ends of the names of their layers (none: all but the head)

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "lora_rank", 1)
        check_range(self, "lora_alpha", 0)

    @override
    def freeze(self, network: nn.Module, space: Box, name: str) -> None:
        own, head = _trained(network), head_of(network, space)
        alpha = self.lora_alpha or 2 * self.lora_rank
        add_adapters(network, self.lora_rank, alpha, self.lora_targets, head, space, name)
        _keep_only(network, [head], own, f"--trainable lora leaves nothing of {name}")


def _trained(network: nn.Module) -> set[nn.Parameter]:
    return {parameter for parameter in network.parameters() if parameter.requires_grad}


def _freeze_all_but(network: nn.Module, modules: Sequence[nn.Module], problem: str) -> None:
    own = _trained(network)
    network.requires_grad_(False)
    _keep_only(network, modules, own, problem)


def _keep_only(network: nn.Module, modules: Sequence[nn.Module], own: set[nn.Parameter], problem: str) -> None:
    """Of a frozen network, train the parameters of some modules that were trained before."""
    for module in modules:
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(parameter in own)
    if not _trained(network):
        raise InvalidOptionError(f"{problem} to train; give all.")
    _keep_statistics(network, modules)


def _keep_statistics(network: nn.Module, trained: Iterable[nn.Module]) -> None:
    moving = set(trained)
    for module in network.modules():
        if isinstance(module, _NormBase) and module.track_running_stats and module not in moving:
            module.eval()
            module.register_forward_pre_hook(KeepsStatistics())


def _last_block(network: nn.Module, head: nn.Module, observation_space: Box, name: str) -> list[nn.Module]:
    """The modules of the last block, and all that a forward pass reaches after it.

    A block is an entry of a list of modules, and is more than a list itself: it has two layers or more. Of several that
    hold the layer which is reached last, it is the innermost.
    """
    order = modules_in_order(network, observation_space)
    blocks = {id(block) for block in blocks_of(network) if head not in block.modules()}
    for layer in reversed(order):
        around = [m for m in network.modules() if id(m) in blocks and any(part is layer for part in m.modules())]
        if around and isinstance(layer, LAYERS):
            inside = set(around[-1].modules())
            last = max(number for number, module in enumerate(order) if module in inside)
            return [*inside, *order[last + 1 :]]
    raise InvalidOptionError(
        f"--trainable last_block needs a network that is made of blocks, and in {name} none can be told: no entry of "
        f"a list of modules has several layers; choose head or all."
    )


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """The blocks of a network: entries of lists of modules that are no lists themselves, and have several layers."""
    lists = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
    entries = [entry for module in network.modules() if isinstance(module, lists) for entry in module.children()]
    return [
        entry
        for entry in entries
        if not isinstance(entry, lists) and sum(isinstance(part, LAYERS) for part in entry.modules()) > 1
    ]
