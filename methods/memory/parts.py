"""Parts of a buffer by name, as options give them."""

import inspect
import math
from collections.abc import Mapping
from typing import Any, TypeVar

from redwood.settings.errors import InvalidOptionError, UnknownNameError

T = TypeVar("T")


def make_part(option: str, text: str, known: Mapping[str, type[T]]) -> T:
    """Make a part from `name` or `name:argument=value,...`, such as `per_class_random:candidates=7`.

    Args:
        option: Name of the option, for messages.
        text: Its value.
        known: The classes that there are.

    Raises:
        RedwoodError: If there is no such part or argument, or the value will not do.
    """
    name, _, given = text.partition(":")
    if name not in known:
        raise UnknownNameError(option, name, known)
    parameters = inspect.signature(known[name]).parameters
    arguments: dict[str, Any] = {}
    for item in filter(None, given.split(",")):
        key, _, value = item.partition("=")
        if key not in parameters:
            takes = ", ".join(parameters) or "none"
            raise InvalidOptionError(f"--{option} {text}: {name} has no argument {key!r}; it takes {takes}.")
        try:
            arguments[key] = _finite(value) if parameters[key].annotation is float else int(value)
        except ValueError:
            raise InvalidOptionError(f"--{option} {text}: {key} has to be a number, got {value!r}.") from None
    try:
        return known[name](**arguments)
    except ValueError as error:
        raise InvalidOptionError(f"--{option} {text}: {error}") from error


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value
