"""Networks that a function or a class of the user makes."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from gymnasium.spaces import Box
from torch import nn

from redwood.core.described import described
from redwood.core.errors import InvalidOptionError
from redwood.core.registry import line_of, load_users_object


def call_factory(reference: str, observation_space: Box, n_outputs: int) -> nn.Module:
    """Make a network by a function or class of the user's file; see `made_network`.

    Args:
        reference: `path/to/file.py:name` or `package.module:name`.
        observation_space: Space of one observation.
        n_outputs: Number of scores.

    Raises:
        RedwoodError: If it cannot be loaded, takes other arguments, fails, or returns something else.
    """
    made_by = load_users_object("network", reference, makes_networks)
    if isinstance(made_by, nn.Module) or not callable(made_by):
        raise InvalidOptionError(f"{_wanted(reference)}, but it is a {type(made_by).__name__}.")
    return made_network(made_by, reference, observation_space, n_outputs)


def made_network(made_by: Callable[..., object], reference: str, observation_space: Box, n_outputs: int) -> nn.Module:
    """Make a network by a function or class; torch's global generator draws its weights, as those of our networks.

    Args:
        made_by: The function or class. `observation_space` and `n_outputs` are passed to parameters of the same name.
            A function without such parameters is called without arguments if possible, else with these two.
        reference: Its name.
        observation_space: Space of one observation.
        n_outputs: Number of scores.

    Raises:
        InvalidOptionError: If it takes other arguments, fails, or returns something else.
    """
    wanted = _wanted(reference)
    call = _call(made_by, {"observation_space": observation_space, "n_outputs": n_outputs})
    if call is None:
        raise InvalidOptionError(f"{wanted}, or one without arguments, but it takes {inspect.signature(made_by)}.")
    try:
        network = made_by(*call.args, **call.kwargs)
    except Exception as error:
        where = line_of(error, Path(reference.rpartition(":")[0]).resolve())
        raise InvalidOptionError(f"The network {reference} fails ({type(error).__name__}: {error}{where}).") from error
    if not isinstance(network, nn.Module):
        raise InvalidOptionError(f"{wanted}, but it returned a {type(network).__name__}.")
    return network


def _wanted(reference: str) -> str:
    return f"The network {reference} must be a function (observation_space, n_outputs) that makes an nn.Module"


def makes_networks(found: object) -> bool:
    """True of a function, and of a class of modules."""
    return inspect.isfunction(found) or (isinstance(found, type) and issubclass(found, nn.Module))


def _call(made_by: Callable[..., object], offered: dict[str, object]) -> inspect.BoundArguments | None:
    """Bind the offered arguments that the function accepts; None if it needs other arguments."""
    signature = inspect.signature(made_by)
    named = {name: value for name, value in offered.items() if name in signature.parameters}
    # Without names, a default such as `width=64` must not be overwritten by a space.
    for positional, keywords in (((), named), (tuple(offered.values()), {})):
        try:
            return signature.bind(*positional, **keywords)
        except TypeError:
            continue
    return None


def refuse_no_module(given: object) -> NoReturn:
    """Say what to pass instead of something that is neither a name nor a module.

    Raises:
        InvalidOptionError: Always.
    """
    raise InvalidOptionError(
        f"The network has to be an nn.Module, a class or a function that makes one, or a name, but {described(given)} "
        "was given; pass one of these."
    )
