"""Arguments in an option, such as `betas=0.9,0.99`: read as literals, never run, and checked by a signature."""

import ast
import inspect
from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from redwood.core.errors import InvalidOptionError


def read_arguments(option: str, items: Sequence[object], accepted: Mapping[str, inspect.Parameter]) -> dict[str, Any]:
    """The arguments that `items` name, as plain values.

    Args:
        option: The option that holds them, for messages.
        items: Texts `name=value`. A value that is no literal is a text.
        accepted: The parameters that may be named, with their annotations.

    Raises:
        InvalidOptionError: If one has another form, is unknown, is given twice, or has a value of another type.
    """
    found: dict[str, Any] = {}
    for item in items:
        name, equals, text = str(item).partition("=")
        if not isinstance(item, str) or not equals or not text:
            raise InvalidOptionError(f"--{option} {item} has to be of the form name=value, such as eps=1e-6.")
        if name not in accepted:
            raise InvalidOptionError(f"--{option} {item} is unknown; choose among {', '.join(accepted)}.")
        if name in found:
            raise InvalidOptionError(f"--{option} gives {name} twice; give it once.")
        found[name] = _literal(text)
        wanted = accepted[name].annotation
        if not accepts(wanted, found[name]):
            raise InvalidOptionError(f"--{option} {item} has to be of type {_readable(wanted)}.")
    return found


def accepts(annotation: Any, value: object) -> bool:
    """Whether a plain value is of an annotated type; whole numbers are floats, too."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return any(accepts(part, value) for part in parts)
    if origin is tuple:
        return isinstance(value, tuple) and len(value) == len(parts) and all(map(accepts, parts, value))
    if annotation in (int, float):
        return isinstance(value, (int, annotation)) and not isinstance(value, bool)
    if annotation in (None, NoneType):
        return value is None
    return isinstance(annotation, type) and isinstance(value, annotation)


def _literal(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _readable(annotation: Any) -> str:
    return inspect.formatannotation(annotation).replace(" | torch.Tensor", "").replace("torch.Tensor | ", "")
