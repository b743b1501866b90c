"""Declare the content of a file that a run reads back, and check it before any of it is used."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from torch import Tensor
from typing_extensions import override

from redwood.core.errors import DataError

# An object of a JSON or YAML file: plain values by name, of which `check` makes sure before they are used.
Json: TypeAlias = dict[str, Any]


class Spec:
    """A requirement on a value."""

    def problem(self, value: object, where: str) -> str | None:
        """The reason why `value`, which the message calls `where`, is wrong, as a clause; None if it is right."""
        raise NotImplementedError


@dataclass(frozen=True)
class Anything(Spec):
    """Any value."""

    @override
    def problem(self, value: object, where: str) -> str | None:
        return None


ANYTHING = Anything()


@dataclass(frozen=True)
class Number(Spec):
    """A finite number in `low..high`: an integer if `whole`, and None if `optional`."""

    low: float = -math.inf
    high: float = math.inf
    whole: bool = False
    optional: bool = False

    @override
    def problem(self, value: object, where: str) -> str | None:
        if value is None and self.optional:
            return None
        kind = "a whole number" if self.whole else "a finite number"
        wanted = int if self.whole else int | float
        if not isinstance(value, wanted) or isinstance(value, bool) or not -math.inf < value < math.inf:
            return f"{where} has to be {kind}, not {_shown(value)}"
        if not self.low <= value <= self.high:
            upper = "" if self.high == math.inf else f" and at most {self.high:.12g}"
            return f"{where} has to be at least {self.low:g}{upper}, not {_shown(value)}"
        return None


@dataclass(frozen=True)
class Text(Spec):
    """A string. It may be empty only if `empty`, and must match `pattern` if there is one."""

    empty: bool = False
    pattern: str | None = None

    @override
    def problem(self, value: object, where: str) -> str | None:
        if not isinstance(value, str) or not (value or self.empty):
            return f"{where} has to be a text, not {_shown(value)}"
        if self.pattern is not None and not re.fullmatch(self.pattern, value):
            return f"{where} has to be of the form {self.pattern}, not {_shown(value)}"
        return None


@dataclass(frozen=True)
class ListOf(Spec):
    """A list or tuple of entries of one kind: exactly `length`, if that is given, and at least `least`."""

    entry: Spec
    length: int | None = None
    least: int = 0
    optional: bool = False

    @override
    def problem(self, value: object, where: str) -> str | None:
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
    """A mapping of texts to entries of one kind."""

    entry: Spec

    @override
    def problem(self, value: object, where: str) -> str | None:
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            return f"{where} has to be a mapping of names, not {_shown(value)}"
        return _first(self.entry.problem(entry, f"{where}.{key}") for key, entry in value.items())


@dataclass(frozen=True)
class Record(Spec):
    """A mapping with exactly these keys. The keys in `optional` may be missing."""

    entries: Mapping[str, Spec]
    optional: frozenset[str] = field(default=frozenset())

    @override
    def problem(self, value: object, where: str) -> str | None:
        if not isinstance(value, Mapping):
            return f"{where} has to be a mapping, not {_shown(value)}"
        missing = [key for key in self.entries if key not in value and key not in self.optional]
        unknown = [key for key in value if key not in self.entries]
        if missing:
            return f"{where} lacks {', '.join(missing)}"
        if unknown:
            return f"{where} holds {', '.join(map(_shown, unknown))}, which redwood does not write"
        return _first(spec.problem(value[key], f"{where}.{key}") for key, spec in self.entries.items() if key in value)


def check(value: object, spec: Spec, source: str, remedy: str = "put back what redwood wrote, or start anew") -> None:
    """Raise `DataError` unless `value` meets `spec`.

    Args:
        value: The content of a file.
        spec: The requirement.
        source: The file, to start the sentence with.
        remedy: Advice for the user, to end the sentence with.
    """
    problem = spec.problem(value, "its content")
    if problem is not None:
        raise DataError(f"{source} is damaged or not redwood's: {problem.replace('its content.', '')}; {remedy}.")


def check_alike(value: object, like: object, source: str, where: str = "state") -> None:
    """Raise `DataError` unless the state `value` has the keys of the new state `like`, and values of the same kinds.

    `value` may hold more than `like`: networks and buffers grow, and None becomes a value.
    """
    problem = _unlike(value, like, where)
    if problem is not None:
        raise DataError(f"{source} holds another state than this method's: {problem}; start the run anew.")


# bool stands before int, since True is an int too.
_KINDS = ((bool, "true or false"), (str, "a text"), (int | float, "a number"), (list | tuple, "a list"))


def _unlike(value: object, like: object, where: str) -> str | None:
    if isinstance(like, Mapping):
        return _unlike_mapping(value, like, where)
    if isinstance(like, Tensor):
        if isinstance(value, Tensor) and ((value.dtype, value.dim()) == (like.dtype, like.dim()) or like.numel() <= 1):
            return None  # an empty tensor, or a single number, may become any tensor
        return f"{where} has to be a tensor of {like.dim()} dimensions, {like.dtype}, not {_shown(value)}"
    for types, name in _KINDS:
        if isinstance(like, types):
            fits = isinstance(value, types) and isinstance(value, bool) == isinstance(like, bool)
            return None if fits else f"{where} has to be {name}, not {_shown(value)}"
    return None


def _unlike_mapping(value: object, like: Mapping[str, object], where: str) -> str | None:
    if not isinstance(value, Mapping):
        return f"{where} has to be a mapping, not {_shown(value)}"
    missing = [key for key in like if key not in value]
    if missing:
        return f"{where} lacks {', '.join(map(str, missing[:3]))}"
    return _first(_unlike(value[key], entry, f"{where}.{key}") for key, entry in like.items())


def _first(problems: Iterable[str | None]) -> str | None:
    return next((problem for problem in problems if problem is not None), None)


def _shown(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)}, {value.dtype}"
    if value is None or isinstance(value, bool | int | float | str):
        text = repr(value)
        return text if len(text) <= 40 else f"{text[:37]}..."
    return f"a {type(value).__name__}"
