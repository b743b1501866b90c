"""What of a network is trained: all of it, its last block, its head, or low-rank adapters (`--trainable`)."""

from collections.abc import Iterable

from gymnasium.spaces import Box
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from redwood.core.errors import InvalidOptionError
from redwood.methods.networks.last_layer import LAYERS, head_of, modules_in_order
from redwood.methods.networks.lora import add_adapters, read_lora

WHOLE, LAST_BLOCK, HEAD, LORA = "all", "last_block", "head", "lora"


class KeepsStatistics:
    """Forward hook of a normalisation that stays in evaluation mode, whatever mode the network is in.

    A hook adds no module, so that the names of the weights stay as they are; a class, so that a copy of the network
    does alike, and can be pickled.
    """

    def __call__(self, normalisation: nn.Module, args: object) -> None:
        """Switch it to evaluation mode before it is computed."""
        if normalisation.training:
            normalisation.eval()


def check_trainable(trainable: str) -> None:
    """Raise `InvalidOptionError` unless `--trainable` names a part of a network."""
    if trainable.partition(":")[0] == LORA:
        read_lora(trainable)
    elif trainable not in (WHOLE, LAST_BLOCK, HEAD):
        raise InvalidOptionError(
            f"--trainable {trainable!r} has to be {WHOLE}, {LAST_BLOCK}, {HEAD} or {LORA}, as in {LORA}:r=8."
        )


def set_trainable(network: nn.Module, trainable: str, observation_space: Box, name: str) -> None:
    """Freeze what is not to be trained, in place; the statistics of frozen normalisations stay as they are.

    Args:
        network: Maps samples (B, ...) in their storage dtype to scores.
        trainable: `all`; `last_block`: the last block and all layers after it; `head`: the last layer; `lora:...`:
            low-rank adapters beside the layers (see `redwood.methods.networks.lora`), and the head. Parameters that are
            frozen already stay so.
        observation_space: Space of one sample.
        name: What the sentence of an error calls the network.

    Raises:
        InvalidOptionError: If there is no such part.
    """
    if trainable == WHOLE:
        return
    head = head_of(network, observation_space)
    own = {parameter for parameter in network.parameters() if parameter.requires_grad}
    trained = _last_block(network, head, observation_space, name) if trainable == LAST_BLOCK else [head]
    if trainable.partition(":")[0] == LORA:
        add_adapters(network, trainable, head, observation_space, name)
    else:
        network.requires_grad_(False)
    for module in trained:
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(parameter in own)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise InvalidOptionError(f"--trainable {trainable} leaves nothing of {name} to train; give all.")
    _keep_statistics(network, trained)


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
        f"--trainable {LAST_BLOCK} needs a network that is made of blocks, and in {name} none can be told: no entry of "
        f"a list of modules has several layers; choose {HEAD} or {WHOLE}."
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
