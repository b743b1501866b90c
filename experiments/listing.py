"""Show the tree of settings, with the methods that apply at each node."""

import json
from dataclasses import dataclass
from typing import TypedDict

from rich.console import Console
from rich.tree import Tree

from redwood import methods
from redwood.methods.table import AGENT_PARTS, METHODS, method_names
from redwood.settings import get_setting, setting_names
from redwood.settings.base import Setting, why_not_suitable

# What `--list --json` says of a setting: names of it, of its parents, of its promises, and of methods that apply.
SettingRecord = TypedDict(
    "SettingRecord",
    {"key": str, "class": str, "parents": list[str], "assumptions": list[str], "methods": list[str]},
)


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


def print_settings(as_json: bool) -> None:
    """Print the tree, or its records as JSON."""
    if as_json:
        print(json.dumps(describe_settings(), indent=2))
    else:
        Console().print(setting_tree())


def setting_tree() -> Tree:
    """The tree of settings; methods are named where they begin to apply.

    A node with two parents stands under the one that is registered first.
    """
    records = describe_settings()
    by_key = {record["key"]: record for record in records}
    parts = f"to agents in environments, + joins {', '.join(AGENT_PARTS)}"
    root = Tree(f"[bold]settings[/] [dim]what each adds; the methods that apply from there on down ({parts})[/]")
    branches: dict[str, Tree] = {}
    for record in records:
        parents = [by_key[parent] for parent in record["parents"] if parent in by_key]
        branch = branches[parents[0]["key"]] if parents else root
        lines = [_headline(record, parents), *_method_lines(record, parents)]
        branches[record["key"]] = branch.add("\n".join(lines))
    return root


def _headline(record: SettingRecord, parents: list[SettingRecord]) -> str:
    inherited = {promise for parent in parents for promise in parent["assumptions"]}
    added = [promise for promise in record["assumptions"] if promise not in inherited]
    also = ", ".join(parent["key"] for parent in parents[1:])
    return " ".join(
        [
            f"[bold]{record['key']}[/]",
            *([f"[green]+ {', '.join(added)}[/]"] if added else []),
            *([f"[dim](also under {also})[/]"] if also else []),
        ]
    )


def _method_lines(record: SettingRecord, parents: list[SettingRecord]) -> list[str]:
    """The methods that do not apply to any parent, and those of parents that do not apply any more."""
    above = dict.fromkeys(name for parent in parents for name in parent["methods"])
    new = [name for name in record["methods"] if name not in above]
    gone = [name for name in above if name not in record["methods"]]
    lines = [f"[dim]{', '.join(new)}[/]"] if new else []
    return [*lines, f"[dim]not {', '.join(gone)}[/]"] if gone else lines
