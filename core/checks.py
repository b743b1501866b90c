"""Checks of option values, for the `__post_init__` of option dataclasses."""

import dataclasses
import inspect
import math
import os
import warnings
from collections.abc import Collection, Sequence
from typing import Any, ClassVar, Protocol, get_args, get_origin

import numpy as np

from redwood.core.described import described
from redwood.core.errors import ClassWarning, InvalidOptionError

# Annotation of an option -> the types that its value may have; the first one is named in messages.
_PLAIN: dict[str, tuple[type, ...]] = {"int": (int,), "float": (float, int), "bool": (bool,), "str": (str,)}

# The largest count: more would fill the memory, or never end. A file or a buffer may have more bytes.
LARGEST_COUNT = 10**9
LARGEST_BYTES = 2**63 - 1
# NumPy's and scikit-learn's generators take seeds of 32 bits.
LARGEST_SEED = 2**32 - 1


class Options(Protocol):
    """A dataclass whose fields are options."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


def refuse_untyped_options(cls: type) -> None:
    """Warn of attributes of a new class that look like options but have no type annotation.

    Args:
        cls: A subclass of a class with options, while it is being created.

    Raises:
        TypeError: If one has the name of an inherited option: the default would silently stay as it is.
    """
    bases = cls.__mro__[1:]
    options = {f.name for base in bases if dataclasses.is_dataclass(base) for f in dataclasses.fields(base)}
    declared = {name for base in cls.__mro__ for name in inspect.get_annotations(base)}
    own = inspect.get_annotations(cls)
    for name, value in vars(cls).items():
        if not isinstance(value, bool | int | float | str | list | tuple):
            continue
        typed = f"{name}: {type(value).__name__} = {value!r}"
        if name in options and name not in own:
            raise TypeError(
                f"{cls.__name__}.{name} = {value!r} does not change the option {name}; write {typed}, and the "
                "comment that it has there."
            )
        if name not in declared and not name.startswith("_") and name == name.lower():
            text = f"{cls.__name__}.{name} = {value!r} has no type, and so it is no option; write {typed}, or annotate"
            warnings.warn(ClassWarning(f"{text} it by ClassVar.", cls), stacklevel=4)


def check_types(options: Options) -> None:
    """Check plain options against their types, and convert numbers of NumPy and paths to plain values.

    Args:
        options: A dataclass; only fields of type int, float, bool, str and list are checked.

    Raises:
        InvalidOptionError: If one has a value of another type.
    """
    for f in dataclasses.fields(options):
        value = getattr(options, f.name)
        annotation = f.type.__name__ if isinstance(f.type, type) else str(f.type)
        wanted = _PLAIN.get(annotation.removesuffix(" | None"))
        if str(f.type).startswith("list"):
            _check_list(f.name, value)
        if get_origin(f.type) is tuple:
            _check_tuple(f.name, value, len(get_args(f.type)))
        if wanted is None or (value is None and f.default is None):
            continue
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        if str in wanted and isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)  # such as `devices=1`; the command line gives texts
        if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
            raise InvalidOptionError(
                f"--{f.name} has to be of type {wanted[0].__name__}, but {described(value)} was given."
            )
        if int in wanted[:1] and isinstance(value, int):
            _check_size(f.name, value)
        setattr(options, f.name, value)


def _check_list(name: str, value: object) -> None:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise InvalidOptionError(f"--{name} has to be a list, but {described(value)} was given{_as_list(value)}.")
    for entry in value:
        if isinstance(entry, int):
            _check_size(name, entry)


def _as_list(value: object) -> str:
    """Advice for a value that is no list, as the end of a sentence."""
    if getattr(value, "shape", None) and hasattr(value, "tolist"):
        return "; pass its tolist()"
    is_plain = value is None or isinstance(value, bool | int | float | str | np.generic)
    return f"; pass [{described(value)}]" if is_plain else ""


def _check_tuple(name: str, value: object, length: int) -> None:
    entries = value if isinstance(value, list | tuple) else ()
    if len(entries) != length or not all(isinstance(one, int | float) and math.isfinite(one) for one in entries):
        raise InvalidOptionError(f"--{name} has to be {length} numbers, but {described(value)} was given.")


def _check_size(name: str, value: int) -> None:
    """Raise `InvalidOptionError` if a whole number is larger than any use of an option of this name."""
    limit = LARGEST_SEED if name.endswith("seed") else LARGEST_BYTES if name.endswith("bytes") else LARGEST_COUNT
    if value > limit:
        raise InvalidOptionError(f"--{name} {_shown(value)} has to be at most {limit}.")
    if value < -LARGEST_BYTES:
        raise InvalidOptionError(f"--{name} {_shown(value)} has to be at least 0.")


def _shown(value: int) -> str:
    """A number as it was written; one of hundreds of digits by its size."""
    return str(value) if value.bit_length() <= 64 else f"{'-' * (value < 0)}2^{value.bit_length() - 1} or more"


def check_choice(options: object, name: str, known: Collection[str]) -> None:
    """Raise `InvalidOptionError` unless the option `name` has one of the `known` values."""
    value = getattr(options, name)
    if value not in known:
        raise InvalidOptionError(f"--{name} {value} is unknown; choose one of {', '.join(known)}.")


def check_positive(options: object, name: str) -> None:
    """Raise `InvalidOptionError` unless the option `name` is greater than 0, and finite."""
    value = _number(options, name)
    if not 0 < value < math.inf:
        raise InvalidOptionError(f"--{name} {value} has to be greater than 0, and finite.")


def check_range(options: object, name: str, low: float, high: float | None = None) -> None:
    """Raise `InvalidOptionError` unless the option `name` is finite and in `low..high` (`high=None`: no limit)."""
    value = _number(options, name)
    shown = _shown(value) if isinstance(value, int) else value
    if not isinstance(value, int) and not math.isfinite(value):
        raise InvalidOptionError(f"--{name} {shown} has to be a finite number.")
    if value < low or (high is not None and value > high):
        upper = "" if high is None else f" and at most {high:.12g}"
        raise InvalidOptionError(f"--{name} {shown} has to be at least {low:g}{upper}.")


def _number(options: object, name: str) -> float | np.number[Any]:
    value: object = getattr(options, name)
    if not isinstance(value, int | float | np.number):
        raise InvalidOptionError(f"--{name} has to be a number, but {described(value)} was given.")
    return value
