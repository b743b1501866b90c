"""A network as a chain of modules: a stem, blocks and a head, each of which another network may take over."""

from collections.abc import Mapping, Sequence
from itertools import chain, pairwise

import torch
from torch import Tensor, nn

from redwood.core.errors import DataError
from redwood.methods.networks.row import parts_of

# Veniat et al. (2021) cut a ResNet-18 into as many: a stem, five groups of blocks, and a head.
MOST_MODULES = 7


def cut(network: nn.Module) -> list[nn.Sequential]:
    """Cut a network into modules whose composition it is.

    A module begins at each part that has a matrix of weights: a layer, or a block of layers. What stands between two of
    them, such as an activation or a pooling, belongs to the first one. Long networks have their blocks grouped.

    Args:
        network: Nested `nn.Sequential` are taken apart; any other module is one part.

    Returns:
        Up to `MOST_MODULES` modules. The first is the stem, and the last is the head, if there are two or more.
    """
    groups: list[list[nn.Module]] = [[]]
    for part in parts_of(network):
        if _has_weights(part) and any(map(_has_weights, groups[-1])):
            groups.append([])
        groups[-1].append(part)
    if len(groups) > MOST_MODULES:
        stem, *blocks, head = groups
        groups = [stem, *_grouped(blocks, MOST_MODULES - 2), head]
    return [nn.Sequential(*group) for group in groups]


def _has_weights(part: nn.Module) -> bool:
    return any(weights.dim() > 1 for weights in part.parameters())


def _grouped(blocks: list[list[nn.Module]], n_groups: int) -> list[list[nn.Module]]:
    """Join neighbours to `n_groups` groups; the first ones get one block more where the numbers do not divide."""
    size, larger = divmod(len(blocks), n_groups)
    starts = [number * size + min(number, larger) for number in range(n_groups + 1)]
    return [list(chain(*blocks[start:stop])) for start, stop in pairwise(starts)]


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name."""
    return dict(module.named_parameters()) | dict(module.named_buffers())


def keep_buffers(module: nn.Module) -> None:
    """Let `state_dict` hold all buffers: a stem that another run made scales its inputs by bounds of that run."""
    for part in module.modules():
        for name, value in list(part.named_buffers(recurse=False)):
            part.register_buffer(name, value)


@torch.no_grad()
def put_tensors(module: nn.Module, tensors: Mapping[str, Tensor], origin: str) -> None:
    """Copy tensors into a module, on its device.

    Args:
        module: Gets them. Buffers take over their shapes, too.
        tensors: The result of `tensors_of` for a module of the same architecture.
        origin: Where they come from, for the error.

    Raises:
        DataError: If names differ, or shapes of parameters.
    """
    own = tensors_of(module)
    for name in {**own, **tensors}:
        fits = name in own and name in tensors
        if not fits or (isinstance(own[name], nn.Parameter) and own[name].shape != tensors[name].shape):
            shapes = [tuple(part[name].shape) if name in part else "missing" for part in (tensors, own)]
            raise DataError(
                f"{origin} is of another network: its {name} is {shapes[0]}, and {shapes[1]} in this run's; "
                "use the --model that it was made with."
            )
    for name, value in own.items():
        if isinstance(value, nn.Parameter):
            value.copy_(tensors[name])
        else:
            path, _, leaf = name.rpartition(".")
            module.get_submodule(path).register_buffer(leaf, tensors[name].to(value.device, copy=True))


def last_layer_names(module: nn.Module) -> set[str]:
    """Names of the parameters of the last layer with a matrix of weights: it tells the classes of one task apart."""
    layers = [name.rpartition(".")[0] for name, weights in module.named_parameters() if weights.dim() > 1]
    return {name for name, _ in module.named_parameters() if layers and name.rpartition(".")[0] == layers[-1]}


def shapes_of(modules: Sequence[nn.Module]) -> list[dict[str, list[int]]]:
    """The shapes of the parameters of each module; of the last layer without its outputs, which differ by task."""
    shapes = [{name: list(weights.shape) for name, weights in module.named_parameters()} for module in modules]
    for name in last_layer_names(modules[-1]):
        shapes[-1][name] = shapes[-1][name][1:]
    return shapes
