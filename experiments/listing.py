"""Describe the tree of settings, with the methods that apply at each node, from the classes."""

from dataclasses import dataclass

from redwood import methods
from redwood.experiments.stored_tree import SettingRecord
from redwood.methods.table import METHODS, method_names
from redwood.settings import get_setting, setting_names
from redwood.settings.base import Setting, why_not_suitable


@dataclass(frozen=True)
class Demands:
    """What a method asks of a setting."""

    target: type[Setting]
    requires: frozenset[str]


def demands_of(name: str) -> Demands:
    """What a method asks of a setting; the class is loaded only if another package brings it."""
    if name in METHODS:
        return Demands(get_setting(METHODS[name].target), METHODS[name].requires)
    method = methods.get_method(name)
    return Demands(method.target, method.requires)


def describe_settings() -> list[SettingRecord]:
    """One record per setting."""
    classes = {name: get_setting(name) for name in setting_names()}
    keys = {cls: name for name, cls in classes.items()}
    demands = {name: demands_of(name) for name in method_names()}
    return [
        {
            "key": name,
            "class": cls.__name__,
            "parents": [keys.get(base, base.__name__) for base in cls.__bases__],
            "assumptions": list(cls.assumptions.promises()),
            "methods": [
                method
                for method, needs in demands.items()
                if why_not_suitable(cls, method, needs.target, needs.requires) is None
            ],
        }
        for name, cls in classes.items()
    ]
