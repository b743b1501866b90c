"""Options from Python: keywords become arguments of the command line, so that both are read by one parser.

An argument is a text. An object from Python gets a text that stands for it, as in `config.yaml`; see `Pair.objects`.
"""

import keyword
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from redwood.core.described import described
from redwood.core.parts import describe, flat
from redwood.experiments.command_line.arguments import UsageError
from redwood.experiments.command_line.config_file import as_arguments, problem_of_line
from redwood.methods.base import Method
from redwood.settings.base import Setting
from redwood.settings.config import mark_of
from redwood.settings.table import name_of_setting

# A key, a class, or several of these; `all` and `a,b` are several, too.
Named: TypeAlias = str | type | Sequence[str | type]
_OF_PYTHON = {"help": "call help(redwood.run)", "version": "read redwood.__version__"}


def read_keywords(
    setting: Named | Setting | None, method: Named | Method | None, options: Mapping[str, object]
) -> tuple[list[str], dict[str, Any]]:
    """The arguments that mean the same on the command line.

    Args:
        setting: The value of `--setting`, or classes, or an object, which gives its class and its options.
        method: The value of `--method`, likewise.
        options: All other options by name; `async_` is `--async`, as Python keeps that word for itself.

    Returns:
        The arguments; and the objects from Python by the texts that stand for them in the arguments.

    Raises:
        UsageError: If a name is no option, or a value is no value of an option.
    """
    objects: dict[str, Any] = {}
    named: dict[str, object] = {}
    both: tuple[tuple[str, Any, type[Setting | Method]], ...]
    both = (("setting", setting, Setting), ("method", method, Method))
    for option, given, base in both:
        if isinstance(given, Setting | Method) and isinstance(given, base):
            options = _joined(given, options)
            given = type(given)
        if given is not None:
            several = [given] if isinstance(given, str | type) or not isinstance(given, Iterable) else given
            named[option] = ",".join(_name_of(one, option, base, objects) for one in several)
    plain = {_option(name): _text_of(value, objects) for name, value in options.items()}
    flattened = flat(plain)
    for name, value in flattened.items():
        problem = problem_of_line(name, value)
        if problem is not None:
            raise UsageError(f"The option {name}, {described(value)}, {problem}.")
    switches = ["--trust"] if flattened.pop("trust", False) else []
    return [*as_arguments(named | flattened), *switches], objects


def _joined(owner: Setting | Method, options: Mapping[str, object]) -> dict[str, object]:
    """Keywords, and before them the options of an object that are not the defaults of its class."""
    own, usual = (describe(one, lambda value: value) for one in (owner, type(owner)()))
    changed = {name: getattr(owner, name) for name, value in own.items() if repr(value) != repr(usual[name])}
    for name in sorted(changed.keys() & options.keys()):
        raise UsageError(f"{name} is given twice, by {type(owner).__name__}(...) and as a keyword; give it once.")
    return changed | dict(options)


def _option(name: str) -> str:
    """The option that a keyword names."""
    stem = name.removesuffix("_")
    found = stem if keyword.iskeyword(stem) else name
    if found in _OF_PYTHON:
        raise UsageError(f"{found} is for the command line; {_OF_PYTHON[found]}.")
    return found


def _name_of(given: object, option: str, base: type, objects: dict[str, Any]) -> str:
    """The name of a setting or a method; a class that other processes cannot find is kept among the objects."""
    if isinstance(given, str):
        return given
    name = name_of_class(given, option, base)
    if ":" in name and isinstance(given, type) and not _is_found(given):
        objects[name] = given
    return name


def name_of_class(given: object, option: str, base: type) -> str:
    """The name that stands for a class of a setting or a method.

    Raises:
        UsageError: If it is no such class.
    """
    if not isinstance(given, type):
        what = type(given).__name__
        raise UsageError(f"Each {option} of several is a name or a class; give {what}, and its options as keywords.")
    if not issubclass(given, base):
        raise UsageError(f"{given.__name__} is no {option}: it has to be a subclass of redwood.{base.__name__}.")
    return given.reference() if issubclass(given, Method) else name_of_setting(given)


def _is_found(cls: type) -> bool:
    """True if another process finds a class by its module and name."""
    try:
        return cls.__module__ != "__main__" and attrgetter(cls.__qualname__)(sys.modules[cls.__module__]) is cls
    except (AttributeError, KeyError):
        return False


def _text_of(value: object, objects: dict[str, Any]) -> object:
    """A value of an option as plain data; an object as the text that stands for it."""
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray) and value.ndim == 1:
        return value.tolist()
    if isinstance(value, Path):
        return os.fspath(value)
    if type(value) is dict and len(value) == 1 and isinstance(next(iter(value.values())), dict):  # a described part
        return {text: {name: _text_of(one, objects) for name, one in its.items()} for text, its in value.items()}
    if isinstance(value, list | tuple | range):
        inside: dict[str, Any] = {}
        items = [_text_of(item, inside) for item in value]
        if not inside and not any(isinstance(item, list) for item in items):
            return items
    text, number = mark_of(value), 2
    while objects.setdefault(text, value) is not value:  # another object of this name
        text, number = mark_of(value).replace(",", f" {number},", 1), number + 1
    return text
