"""Describe the tree of settings, with the methods that apply at each node, from the classes."""

from collections.abc import Mapping
from dataclasses import dataclass

from redwood import methods
from redwood.experiments.stored_tree import SettingRecord
from redwood.methods.table import METHODS, method_names
from redwood.settings import get_setting, setting_names
from redwood.settings.base import Setting, why_not_suitable


@dataclass(frozen=True)
class Demands:
    """The demands of a method on its setting."""

    target: type[Setting]
    requires: frozenset[str]


def demands_of(name: str) -> Demands:
    """Return the demands of a method on its setting; the class is loaded only if it is from another package."""
    if name in METHODS:
        return Demands(get_setting(METHODS[name].target), METHODS[name].requires)
    method = methods.get_method(name)
    return Demands(method.target, method.requires)


def describe_settings() -> list[SettingRecord]:
    """One record per setting."""
    classes = {name: get_setting(name) for name in setting_names()}
    keys = {cls: name for name, cls in classes.items()}
    demands = {name: demands_of(name) for name in method_names()}
    return [_record_of(name, cls, keys, demands) for name, cls in classes.items()]


def describe_setting(name: str) -> SettingRecord:
    """The record of a setting by its key or reference."""
    keys = {get_setting(key): key for key in setting_names()}
    return _record_of(name, get_setting(name), keys, {method: demands_of(method) for method in method_names()})


def declared_texts(name: str) -> dict[str, str]:
    """Return the texts of the assumptions of a setting that a file declares, by their names."""
    return {promise: declared.text for promise, declared in get_setting(name).assumptions.declared.items()}


def _record_of(
    name: str, cls: type[Setting], keys: Mapping[type[Setting], str], demands: Mapping[str, Demands]
) -> SettingRecord:
    applying = (
        method for method, needs in demands.items() if not why_not_suitable(cls, method, needs.target, needs.requires)
    )
    return {
        "key": name,
        "class": cls.__name__,
        "parents": [keys.get(base, base.__name__) for base in cls.__bases__],
        "assumptions": list(cls.assumptions.promises()),
        "methods": list(applying),
    }
