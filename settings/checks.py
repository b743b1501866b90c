"""Checks of option values, for the `__post_init__` of option dataclasses."""

import math
from collections.abc import Collection
from typing import Any

from redwood.settings.errors import InvalidOptionError


def check_choice(options: Any, name: str, known: Collection[str]) -> None:
    """Raise `InvalidOptionError` unless the option `name` has one of the `known` values."""
    value = getattr(options, name)
    if value not in known:
        raise InvalidOptionError(f"--{name} {value} is unknown; choose one of {', '.join(known)}.")


def check_positive(options: Any, name: str) -> None:
    """Raise `InvalidOptionError` unless the option `name` is greater than 0, and finite."""
    value = getattr(options, name)
    if not 0 < value < math.inf:
        raise InvalidOptionError(f"--{name} {value} has to be greater than 0, and finite.")


def check_range(options: Any, name: str, low: float, high: float | None = None) -> None:
    """Raise `InvalidOptionError` unless the option `name` is finite and in `low..high` (`high=None`: no limit)."""
    value = getattr(options, name)
    if not math.isfinite(value):
        raise InvalidOptionError(f"--{name} {value} has to be a finite number.")
    if value < low or (high is not None and value > high):
        upper = "" if high is None else f" and at most {high:g}"
        raise InvalidOptionError(f"--{name} {value} has to be at least {low:g}{upper}.")
