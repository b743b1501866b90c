"""What a file that a run reads back has to hold, said once, and checked before any of it is used."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from redwood.core.errors import DataError


class Spec:
    """What a value has to be."""

    def problem(self, value: Any, where: str) -> str | None:
        """What is wrong with `value`, which is called `where`, as the end of a sentence; None if nothing is."""
        raise NotImplementedError


@dataclass(frozen=True)
class Anything(Spec):
    """Any value."""

    def problem(self, value: Any, where: str) -> str | None:
        """Nothing is wrong."""
        return None


ANYTHING = Anything()


@dataclass(frozen=True)
class Number(Spec):
    """A finite number in `low..high`, without a fraction if `whole`; or None if `optional`."""

    low: float = -math.inf
    high: float = math.inf
    whole: bool = False
    optional: bool = False

    def problem(self, value: Any, where: str) -> str | None:
        """Type, then range."""
        if value is None and self.optional:
            return None
        kind = "a whole number" if self.whole else "a finite number"
        number = isinstance(value, int if self.whole else int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value):
            return f"{where} has to be {kind}, not {_shown(value)}"
        if not self.low <= value <= self.high:
            upper = "" if self.high == math.inf else f" and at most {self.high:g}"
            return f"{where} has to be at least {self.low:g}{upper}, not {_shown(value)}"
        return None


@dataclass(frozen=True)
class Text(Spec):
    """A string, which may be empty only if `empty`, and matches `pattern` if there is one."""

    empty: bool = False
    pattern: str | None = None

    def problem(self, value: Any, where: str) -> str | None:
        """Type, then form."""
        if not isinstance(value, str) or not (value or self.empty):
            return f"{where} has to be a text, not {_shown(value)}"
        if self.pattern is not None and not re.fullmatch(self.pattern, value):
            return f"{where} has to be of the form {self.pattern}, not {_shown(value)}"
        return None


@dataclass(frozen=True)
class ListOf(Spec):
    """A list or tuple of alike entries; of `length` ones, if that is given, and at least of `least`."""

    entry: Spec
    length: int | None = None
    least: int = 0
    optional: bool = False

    def problem(self, value: Any, where: str) -> str | None:
        """Type and length, then each entry."""
        if value is None and self.optional:
            return None
        if not isinstance(value, list | tuple):
            return f"{where} has to be a list, not {_shown(value)}"
        if self.length is not None and len(value) != self.length:
            return f"{where} has to have {self.length} entries, not {len(value)}"
        if len(value) < self.least:
            return f"{where} has to have at least {self.least} entries, not {len(value)}"
        return _first(self.entry.problem(entry, f"{where}[{number}]") for number, entry in enumerate(value))


@dataclass(frozen=True)
class MapOf(Spec):
    """A mapping of texts to alike entries."""

    entry: Spec

    def problem(self, value: Any, where: str) -> str | None:
        """Type and keys, then each entry."""
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            return f"{where} has to be a mapping of names, not {_shown(value)}"
        return _first(self.entry.problem(entry, f"{where}.{key}") for key, entry in value.items())


@dataclass(frozen=True)
class Record(Spec):
    """A mapping with exactly these keys, of which those in `optional` may be missing."""

    entries: Mapping[str, Spec]
    optional: frozenset[str] = field(default=frozenset())

    def problem(self, value: Any, where: str) -> str | None:
        """Type and keys, then each entry."""
        if not isinstance(value, Mapping):
            return f"{where} has to be a mapping, not {_shown(value)}"
        missing = [key for key in self.entries if key not in value and key not in self.optional]
        unknown = [key for key in value if key not in self.entries]
        if missing:
            return f"{where} lacks {', '.join(missing)}"
        if unknown:
            return f"{where} holds {', '.join(map(_shown, unknown))}, which redwood does not write"
        return _first(spec.problem(value[key], f"{where}.{key}") for key, spec in self.entries.items() if key in value)


def check(value: Any, spec: Spec, source: str, remedy: str = "put back what redwood wrote, or start anew") -> None:
    """Raise `DataError` unless `value` is what `spec` says.

    Args:
        value: What was read.
        spec: What it has to be.
        source: What it was read from, to start the sentence with.
        remedy: What the user can do.
    """
    problem = spec.problem(value, "its content")
    if problem is not None:
        raise DataError(f"{source} is damaged or not redwood's: {problem.replace('its content.', '')}; {remedy}.")


def check_alike(value: Any, like: Any, source: str, where: str = "state") -> None:
    """Raise `DataError` unless a state that was read has the keys and the kinds of values that a new one has.

    A state may hold more than a new one: networks and buffers grow, and what is None becomes something.
    """
    problem = _unlike(value, like, where)
    if problem is not None:
        raise DataError(f"{source} holds another state than this method's: {problem}; start the run anew.")


# Of bool before int, since True is an int, too.
_KINDS = ((bool, "true or false"), (str, "a text"), (int | float, "a number"), (list | tuple, "a list"))


def _unlike(value: Any, like: Any, where: str) -> str | None:
    if isinstance(like, Mapping):
        return _unlike_mapping(value, like, where)
    if isinstance(like, Tensor):
        if isinstance(value, Tensor) and ((value.dtype, value.dim()) == (like.dtype, like.dim()) or like.numel() <= 1):
            return None  # what starts empty, or as one number, may become anything
        return f"{where} has to be a tensor of {like.dim()} dimensions, {like.dtype}, not {_shown(value)}"
    for types, name in _KINDS:
        if isinstance(like, types):
            fits = isinstance(value, types) and isinstance(value, bool) == isinstance(like, bool)
            return None if fits else f"{where} has to be {name}, not {_shown(value)}"
    return None


def _unlike_mapping(value: Any, like: Mapping[Any, Any], where: str) -> str | None:
    if not isinstance(value, Mapping):
        return f"{where} has to be a mapping, not {_shown(value)}"
    missing = [key for key in like if key not in value]
    if missing:
        return f"{where} lacks {', '.join(map(str, missing[:3]))}"
    return _first(_unlike(value[key], entry, f"{where}.{key}") for key, entry in like.items())


def _first(problems: Any) -> str | None:
    return next((problem for problem in problems if problem is not None), None)


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)}, {value.dtype}"
    if value is None or isinstance(value, bool | int | float | str):
        text = repr(value)
        return text if len(text) <= 40 else f"{text[:37]}..."
    return f"a {type(value).__name__}"
