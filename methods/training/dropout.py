"""Dropout for a network that was built without it (Srivastava et al., 2014)."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from redwood.settings.errors import InvalidOptionError

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

    A hook adds no module, so that the names of the weights stay as they are; a class, so that a copy of the network
    drops alike, and can be pickled.
    """

    def __init__(self, p: float) -> None:
        self.p = p

    def __call__(self, activation: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
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
