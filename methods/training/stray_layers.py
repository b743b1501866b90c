"""Layers of a method that get gradients, and that no optimizer moves."""

from collections.abc import Iterable, Iterator
from typing import Any

from torch import nn
from torch.optim import Optimizer


def stray_layers(method: Any, network: nn.Module, optimizers: Iterable[Optimizer]) -> list[str]:
    """Names of a method's attributes that are not part of its network, and would have to be for being trained.

    Args:
        method: Its attributes, and what lists and dicts among them hold, are looked at once a step has been made.
        network: What the method trains.
        optimizers: Those of the training loop; the method may have others among its attributes.
    """
    moved = {id(p) for p in network.parameters()}
    held = {name: list(_held(value)) for name, value in vars(method).items() if name != "model"}
    own = [value for values in held.values() for value in values if isinstance(value, Optimizer)]
    moved |= {id(p) for optimizer in [*optimizers, *own] for group in optimizer.param_groups for p in group["params"]}
    return [
        name
        for name, values in held.items()
        if any(p.grad is not None and id(p) not in moved for value in values for p in _parameters(value))
    ]


def _held(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list | tuple):
        yield from value
    else:
        yield value


def _parameters(value: Any) -> Iterator[nn.Parameter]:
    if isinstance(value, nn.Parameter):
        yield value
    elif isinstance(value, nn.Module):
        yield from value.parameters()
