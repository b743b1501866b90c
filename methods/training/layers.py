"""Networks in evaluation mode, for a while."""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from redwood.core.errors import InvalidOptionError


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Switch a network to evaluation mode, and back what was in training mode.

    Part by part, since some may be in evaluation mode for good, such as frozen statistics.
    """
    training = [part for part in network.modules() if part.training]
    network.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


@contextmanager
def without_warning_of_frozen_parts() -> Iterator[None]:
    """Within, Lightning does not warn of parts in evaluation mode: they are frozen, and have to be in it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode")
        yield


# Not the sigmoid: in the networks of torchvision it is the gate of a channel, and no hidden unit.
ACTIVATIONS = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.PReLU,
    nn.ELU,
    nn.SELU,
    nn.CELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Softplus,
    nn.Hardswish,
    nn.Tanh,
)


class DropAfter:
    """Forward hook of an activation that drops part of its output while it is in training mode.

    It is a hook, not a module, so the names of the weights stay the same. It is a class, not a function, so a copy of
    the network has it, too, and can be pickled.
    """

    def __init__(self, p: float) -> None:
        self.p = p

    def __call__(self, activation: nn.Module, args: tuple[object, ...], output: Tensor) -> Tensor:
        """Drop elements of `output`, of any shape, each with probability `p`."""
        return F.dropout(output, self.p, activation.training)


def check_dropout(p: float) -> None:
    """Raise `InvalidOptionError` unless `p` is a share of the activations that leaves some."""
    if not 0 <= p < 1:
        raise InvalidOptionError(f"--dropout {p} has to be at least 0 and less than 1.")


def set_dropout(network: nn.Module, p: float) -> None:
    """Drop elements after each activation of a network, in training mode; in the place of what was set before.

    Args:
        network: Its activations are modules; those that it computes by functions stay whole.
        p: Probability of each element, in [0, 1); what is left is multiplied by 1 / (1 - p).

    Raises:
        InvalidOptionError: If there is something to drop, and no activation among the network's modules.
    """
    activations = [part for part in network.modules() if isinstance(part, ACTIVATIONS)]
    if p and not activations:
        raise InvalidOptionError(
            f"--dropout {p} needs a network whose activations are modules, such as nn.ReLU, but "
            f"{type(network).__name__} has none; make them modules, or leave --dropout out."
        )
    for activation in activations:
        for key, hook in list(activation._forward_hooks.items()):
            if isinstance(hook, DropAfter):
                del activation._forward_hooks[key]
        if p:
            activation.register_forward_hook(DropAfter(p))


def stray_layers(method: object, network: nn.Module, optimizers: Iterable[Optimizer]) -> list[str]:
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


def _held(value: object) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list | tuple):
        yield from value
    else:
        yield value


def _parameters(value: object) -> Iterator[nn.Parameter]:
    if isinstance(value, nn.Parameter):
        yield value
    elif isinstance(value, nn.Module):
        yield from value.parameters()
