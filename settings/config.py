"""A run's options as a flat mapping: what `config.yaml` holds and reproduces the run from."""

import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from redwood.core.errors import InvalidOptionError
from redwood.core.registry import known_names, reference_of
from redwood.settings import ENTRY_POINTS, SETTINGS

if TYPE_CHECKING:
    from redwood.settings.base import Learner, Setting

# What stands for an object that only Python can give.
_MARK = re.compile(r"<(.+), given from Python>")
# Not part of what reproduces a run: where it writes, how it is watched.
_NOT_CONFIG = {"run_dir", "group", "resume", "quiet"}


def name_of_setting(cls: "type[Setting]") -> str:
    """The key of a setting class, or the reference under which it can be loaded."""
    return reference_of(cls, known_names("setting", SETTINGS, ENTRY_POINTS))


def describe_run(setting: "Setting", method: "Learner", run: Any) -> dict[str, Any]:
    """All options of a run, flat, by the names that the command line uses."""
    config: dict[str, Any] = {"setting": name_of_setting(type(setting)), "method": method.reference()}
    for part in (setting, method, run):
        config |= describe_options(part)
    return config


def describe_options(part: Any) -> dict[str, Any]:
    """The options of a setting, a method or a run."""
    return {f.name: _plain(getattr(part, f.name)) for f in fields(part) if f.name not in _NOT_CONFIG}


def refuse_marked(config: Mapping[str, Any], file: Path) -> None:
    """Refuse options that stand for objects which a configuration file cannot hold.

    Args:
        config: The options that are to be taken from the file.
        file: Where they stand.

    Raises:
        InvalidOptionError: If there is such an option.
    """
    for name, value in config.items():
        marked = _MARK.fullmatch(value) if isinstance(value, str) else None
        if marked:
            raise InvalidOptionError(
                f"{file} cannot hold the {name} of its run, {marked[1]}, which was given from Python; go on from "
                f"Python, or start a run with --config {file} --{name} and a name or file.py:function."
            )


def _plain(value: Any) -> Any:
    """YAML has names for plain values; anything else is marked as what only Python can give, by its name or class."""
    if isinstance(value, np.generic):
        return value.item()
    if _is_plain(value):
        return value
    if isinstance(value, list | tuple) and all(_is_plain(item) for item in value):
        return [_plain(item) for item in value]
    return f"<{_name(value)}, given from Python>"


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str | np.generic)


def _name(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(str(item) if _is_plain(item) else _name(item) for item in value)
    return str(getattr(value, "name", None) or getattr(value, "__qualname__", None) or type(value).__qualname__)
