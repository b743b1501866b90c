"""The file of options that `--help` reads instead of importing the classes; see `experiments/known_options.py`."""

import argparse
import inspect
from collections.abc import Iterable
from typing import Any

import simple_parsing
from simple_parsing.wrappers.field_metavar import get_metavar

from redwood.engine.run import Run
from redwood.experiments.known_options import RUN, fingerprint, text_of, tree_fingerprint
from redwood.experiments.listing import describe_settings
from redwood.experiments.options import add_options
from redwood.methods import METHODS, get_method
from redwood.settings import SETTINGS, get_setting


def text() -> str:
    """What the file has to hold."""
    classes: dict[str, type] = {SETTINGS[key]: get_setting(key) for key in SETTINGS}
    classes |= {METHODS[key].reference: get_method(key) for key in METHODS} | {RUN: Run}
    options: dict[str, Any] = {}
    records = {name: _record(cls, options) for name, cls in classes.items()}
    return text_of(
        {
            "rules": tree_fingerprint(records[name]["bases"] for name in SETTINGS.values()),
            "tree": {record["key"]: record for record in describe_settings() if record["key"] in SETTINGS},
            "classes": records,
            "options": options,
        }
    )


def _record(cls: type, options: dict[str, Any]) -> dict[str, Any]:
    """What the file says of a class; its options go to `options`, once for all classes that inherit them."""
    bases = [_reference(base) for base in cls.__mro__ if base.__module__.startswith("redwood.")]
    parser = simple_parsing.ArgumentParser(add_help=False)
    add_options(parser, only=cls)
    groups = [
        {
            "title": group.title,
            "description": group.description,
            "options": _runs(cls, group._group_actions, options),
        }
        for group in parser._action_groups[2:]  # the first two are argparse's own, and empty
    ]
    return {"bases": bases, "fingerprint": fingerprint(bases), "groups": groups}


def _runs(cls: type, actions: Iterable[argparse.Action], options: dict[str, Any]) -> list[list[str]]:
    """The options of a group, in order: for each stretch of one class the class, and then the names."""
    runs: list[list[str]] = []
    for action in actions:
        name = action.dest.rpartition(".")[2]
        owner = next(_reference(base) for base in cls.__mro__ if name in inspect.get_annotations(base))
        if options.setdefault(f"{owner}.{name}", _action(action)) != _action(action):
            owner = _reference(cls)  # the class changes what it inherits
            options[f"{owner}.{name}"] = _action(action)
        if not runs or runs[-1][0] != owner:
            runs.append([owner])
        runs[-1].append(name)
    return runs


def _reference(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def _action(action: argparse.Action) -> dict[str, Any]:
    default = action.default
    choices = (
        None
        if action.choices is None
        else [choice if isinstance(choice, int | float) else str(choice) for choice in action.choices]
    )
    return {
        "flags": list(action.option_strings),
        "usage": action.format_usage(),
        "nargs": action.nargs,
        "type": getattr(action.type, "__name__", None),
        "choices": choices,
        "default": None if default is None else "" if default in ([], "") else str(default),
        "metavar": action.metavar if choices else action.metavar or get_metavar(action.type),
        "help": action.help,
    }
