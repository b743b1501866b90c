"""The search space of a sweep: for each option a range of numbers or a list of values, as the user writes them."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from redwood.core.errors import RedwoodError
from redwood.experiments.command_line.arguments import UsageError
from redwood.experiments.command_line.config_file import load_entries
from redwood.experiments.command_line.trust import refuse_untrusted

Written = str | list[str]  # a range or comma list, or the values one by one
Value = float | int | str

_LOG, _TO = "log:", ".."
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included.

    Attributes:
        low: The least value.
        high: The greatest value.
        log: Whether equal factors are equally likely, instead of equal distances.
        whole: Whether the values are integers.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    @property
    def ends(self) -> tuple[Value, ...]:
        """Both ends."""
        return (int(self.low), int(self.high)) if self.whole else (self.low, self.high)

    @property
    def size(self) -> float:
        """Number of values."""
        return self.high - self.low + 1 if self.whole else math.inf


@dataclass(frozen=True)
class Choices:
    """Values without an order, as the command line takes them."""

    values: tuple[str, ...]

    @property
    def ends(self) -> tuple[Value, ...]:
        """All values: each is checked by itself."""
        return self.values

    @property
    def size(self) -> float:
        """Number of values."""
        return len(self.values)


Space = Mapping[str, Range | Choices]


def size_of(space: Space) -> float:
    """Number of configurations in a space; infinity if there is a range of real numbers."""
    return prod(parameter.size for parameter in space.values())


def read_space(entries: Sequence[str], *, trusted: bool) -> dict[str, Written]:
    """The options and values of `sweep`, as they are written.

    Args:
        entries: Texts such as `lr=log:1e-3..1`, or YAML files of lines such as `lr: log:1e-3..1`.
        trusted: Whether code that a file names may be run.

    Raises:
        RedwoodError: If an entry is neither, a file cannot be used, or an option comes twice.
    """
    written: dict[str, Written] = {}
    for entry in entries:
        name, equals, values = entry.partition("=")
        own: dict[str, Written] = {name.strip().lstrip("-"): values} if equals else _read_file(entry, trusted)
        for option in own:
            if option in written:
                raise UsageError(f"sweep names {option} twice; name it once.")
        written |= own
    if not written:
        raise UsageError("sweep names no option; write for example sweep lr=log:1e-3..1.")
    return written


def _read_file(entry: str, trusted: bool) -> dict[str, Written]:
    path = Path(entry)
    if not path.is_file():
        remedy = "write NAME=LOW..HIGH, NAME=A,B,C, or the name of a YAML file"
        raise UsageError(f"sweep {entry} is neither an option with its values nor a file; {remedy}.")
    content = load_entries(path, f"sweep {path}", "lines like `lr: log:1e-3..1`")
    read: dict[str, Written] = {}
    for name, values in content.items():
        plain = values if isinstance(values, list) else [values]
        if not isinstance(name, str) or any(value is None or isinstance(value, dict | list) for value in plain):
            raise RedwoodError(f"In sweep {path}, {name} has to be a range such as 1..8, or a list of plain values.")
        read[name] = [str(value) for value in values] if isinstance(values, list) else str(values)
    if not trusted:
        refuse_untrusted(read, path, "sweep")
    return read


def parse_parameter(name: str, written: Written, kind: type | None) -> Range | Choices:
    """The values of one option.

    Args:
        name: The option.
        written: Its range or its values.
        kind: `int` or `float` if the option is a number, else another type or None.

    Raises:
        UsageError: If that is no range and no list of at least two values, or does not suit the kind.
    """
    if isinstance(written, str) and _is_range(written, number=kind in (int, float)):
        return _parse_range(name, written, kind)
    values = tuple(value.strip() for value in (written.split(",") if isinstance(written, str) else written))
    if "" in values:
        raise UsageError(f"sweep {name}={_shown(written)} has an empty value; write {name}=A,B,C or LOW..HIGH.")
    if len(values) == 1:
        raise UsageError(
            f"sweep {name}={values[0]} is one value, so that there is nothing to choose; give --{name} {values[0]}, "
            "or further values."
        )
    repeated = next((value for value in values if values.count(value) > 1), None)
    if repeated is not None:
        raise UsageError(f"sweep {name}={_shown(written)} names {repeated} twice; name it once.")
    return Choices(values)


def _is_range(text: str, *, number: bool) -> bool:
    """True if a text is meant as a range; two dots may stand in the name of a file, too."""
    if text.startswith(_LOG):
        return True
    low, dots, high = text.partition(_TO)
    return bool(dots) and (number or bool(_NUMBER.fullmatch(low.strip()) and _NUMBER.fullmatch(high.strip())))


def _parse_range(name: str, text: str, kind: type | None) -> Range:
    given = f"sweep {name}={text}"
    if kind not in (int, float):
        raise UsageError(f"{given} is a range, but {name} is no number; list its values, as in {name}=A,B,C.")
    log, (low_text, dots, high_text) = text.startswith(_LOG), text.removeprefix(_LOG).partition(_TO)
    texts = low_text.strip(), high_text.strip()
    if not dots or not all(map(_NUMBER.fullmatch, texts)):
        raise UsageError(f"{given} is no range of numbers; write LOW..HIGH, or log:LOW..HIGH.")
    low, high = map(float, texts)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise UsageError(f"{given} has an end that is not finite; lower it.")
    if kind is int and not (low.is_integer() and high.is_integer()):
        raise UsageError(f"{given} has an end with a fraction, but {name} is an integer; use whole numbers.")
    if low >= high:
        raise UsageError(f"{given} is empty; write the lower end first, and a greater one behind it.")
    if log and low <= 0:
        raise UsageError(f"{given} has no logarithm at {low:g}; begin above 0.")
    return Range(low, high, log, whole=kind is int)


def _shown(written: Written) -> str:
    return written if isinstance(written, str) else ",".join(written)


def as_arguments(values: Mapping[str, Value]) -> list[str]:
    """The values of a trial as command-line arguments, with all digits."""
    return [f"--{name}={value}" for name, value in values.items()]


def show_values(values: Mapping[str, Value]) -> str:
    """The values of a trial in few characters, as in `lr=0.0123, momentum=0.9`."""
    return ", ".join(f"{name}={_short(value)}" for name, value in values.items())


def _short(value: Value) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def names(space: Iterable[str]) -> str:
    """Options as a text."""
    return ", ".join(f"--{name}" for name in space)
