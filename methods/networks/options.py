"""The options of a method that decide about its network: `model`, `weights`, `input_size` and `trainable`."""

from typing import Any, Protocol

from torch import nn

from redwood.core.checks import check_range
from redwood.core.errors import InvalidOptionError
from redwood.methods.networks.inputs import AsPublished
from redwood.methods.networks.trainable import WHOLE, check_trainable

# What each option is if it is not given.
WITHOUT_EFFECT: dict[str, Any] = {"weights": "", "input_size": 0, "trainable": WHOLE}


class NetworkOptions(Protocol):
    """A method with a network; see `LightningMethod`."""

    model: Any
    weights: str
    input_size: int
    trainable: str


def check_network_options(method: NetworkOptions) -> None:
    """Raise `InvalidOptionError` if one of the options is out of range, or does not go with `model`."""
    check_range(method, "input_size", 0)
    check_trainable(method.trainable)
    for name in ("weights", "input_size"):
        if getattr(method, name) and not isinstance(method.model, str):
            raise InvalidOptionError(
                f"--{name} {getattr(method, name)} is for a network given by name, and a module was given; leave it "
                "out, and give the module its weights before."
            )


def published_input(method: NetworkOptions) -> AsPublished | None:
    """How the network normalises its input for published weights; None: as without such weights."""
    if not method.weights and not method.input_size:
        return None
    return AsPublished(side=method.input_size, has_weights=bool(method.weights))


def network_name(method: NetworkOptions) -> str:
    """The network as messages call it."""
    return type(method.model).__name__ if isinstance(method.model, nn.Module) else str(method.model)


def refuse_network_options(method: NetworkOptions, reason: str) -> None:
    """Raise `InvalidOptionError` if an option beside `model` is given to a method that makes other use of networks.

    Args:
        method: The method.
        reason: What it does instead, as the end of a clause after "which".
    """
    for name, off in WITHOUT_EFFECT.items():
        if getattr(method, name) != off:
            raise InvalidOptionError(
                f"--{name} {getattr(method, name)} does not go with {type(method).__name__}, which {reason}; leave it "
                "out."
            )
