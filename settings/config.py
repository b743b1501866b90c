"""The options of a run: the content of `config.yaml`, from which the run can be repeated."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from redwood.core.calls import python_call
from redwood.core.checks import Options
from redwood.core.errors import InvalidOptionError
from redwood.core.parts import describe
from redwood.core.schema import Json
from redwood.settings.base import Setting
from redwood.settings.protocols import Learner
from redwood.settings.table import name_of_setting

# The key and the number of the format of a `config.yaml` that a run has written.
FORMAT_KEY, CONFIG_FORMAT = "format", 2
# The text in `config.yaml` for an object that was given from Python.
_MARK = re.compile(r"<(.+), given from Python>")
_MOST_NAMES = 4  # objects of a list that its text names
# Fields that do not affect the numbers of a run: the output folder, and what the run prints.
_NOT_CONFIG = {"run_dir", "quiet"}


def describe_run(setting: Setting, method: Learner, run: Options) -> Json:
    """All options of a run by the command line's names, those of parts nested: see `redwood.core.parts.describe`."""
    config: dict[str, object] = {"setting": name_of_setting(type(setting)), "method": method.reference()}
    for owner in (setting, method, run):
        config |= describe_options(owner)
    earlier = getattr(getattr(run, "context", None), "earlier", None)
    return config if earlier is None else config | {"extends": earlier.folder}


def describe_options(options: Options) -> Json:
    """The options of a setting, a method or a run, as plain values, those of parts nested."""
    return {name: value for name, value in describe(options, _plain).items() if name not in _NOT_CONFIG}


def refuse_marked(config: Mapping[str, object], file: Path) -> None:
    """Refuse options whose values are objects that a configuration file cannot hold.

    Args:
        config: The options from the file.
        file: The file.

    Raises:
        InvalidOptionError: If there is such an option.
    """
    for name, value in config.items():
        marked = _MARK.fullmatch(value) if isinstance(value, str) else None
        if marked:
            raise InvalidOptionError(
                f"{file} cannot hold the {name} of its run, {marked[1]}, which was given from Python; go on from "
                f"Python, by {python_call('resume', file.parent, f'{name}=...')}, or start a run with --config {file} "
                f"--{name} and a name or file.py:function."
            )


def is_marked(value: object) -> bool:
    """True if an option of a configuration file stands for an object that was given from Python."""
    return isinstance(value, str) and _MARK.fullmatch(value) is not None


def _plain(value: object) -> object:
    """Plain values as they are; other objects as a text with their name or class."""
    if isinstance(value, np.generic):
        return value.item()
    if _is_plain(value):
        return value
    if isinstance(value, list | tuple) and all(_is_plain(item) for item in value):
        return [_plain(item) for item in value]
    return mark_of(value)


def mark_of(value: object) -> str:
    """The text for an object that no file can hold."""
    return f"<{_name(value)}, given from Python>"


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float | str | np.generic)


def _name(value: object) -> str:
    if isinstance(value, list | tuple):
        names = [str(item) if _is_plain(item) else _name_of_one(item) for item in value[:_MOST_NAMES]]
        return ", ".join([*names, *["..."] * (len(value) > _MOST_NAMES)])
    return _name_of_one(value)


def _name_of_one(value: object) -> str:
    """The name of an object, or that of its class; a table may have a column `name`."""
    names = (getattr(value, attribute, None) for attribute in ("name", "__qualname__"))
    return next((name for name in names if isinstance(name, str) and name), type(value).__qualname__)
