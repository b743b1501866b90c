"""Print the tree of settings, with the methods that apply at each node, without an import of torch."""

import json
from collections.abc import Sequence

from rich.tree import Tree

from redwood.engine.terminal import Terminal
from redwood.experiments.stored_tree import SettingRecord, stored_tree
from redwood.methods.table import AGENT_PARTS


def print_settings(as_json: bool) -> None:
    """Print the tree, or its records as JSON."""
    known = stored_tree()
    if known is not None:
        records = list(known.values())
    else:
        from redwood.experiments.listing import describe_settings

        records = describe_settings()
    if as_json:
        print(json.dumps(records, indent=2))
    else:
        Terminal().print(setting_tree(records))


def setting_tree(records: Sequence[SettingRecord]) -> Tree:
    """The tree of settings; methods are named where they begin to apply.

    A node with two parents stands under the one that is registered first.
    """
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
