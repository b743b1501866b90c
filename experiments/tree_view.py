"""Print the tree of settings with the methods that apply at each node, or the methods, without an import of torch."""

import json
from collections.abc import Mapping, Sequence

from rich.markup import escape
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from redwood.engine.terminal import Terminal
from redwood.experiments.stored_tree import SettingRecord, stored_tree
from redwood.methods.table import AGENT_PARTS, METHODS, known_methods


def print_settings(as_json: bool, setting: str | None = None) -> None:
    """Print the tree, or one setting of it by its key or reference; or their records as JSON."""
    known, texts = stored_tree() if setting is None else None, dict[str, str]()
    if known is not None:
        records = list(known.values())
    else:
        from redwood.experiments import listing

        records = listing.describe_settings() if setting is None else [listing.describe_setting(setting)]
        texts = {} if setting is None else listing.declared_texts(setting)
    if as_json:
        print(json.dumps(records if setting is None else records[0], indent=2))
    elif setting is None:
        Terminal().print(setting_tree(records))
    else:
        _print_one(records[0], texts)


def print_methods(as_json: bool) -> None:
    """Print all methods by family, the folder or package that a method is in, with a line on each; or as JSON."""
    families: dict[str, dict[str, str]] = {}
    for key, reference in known_methods().items():
        package, _, inside = reference.partition(":")[0].partition(".")
        family = inside.split(".")[1] if package == "redwood" else package
        families.setdefault(family, {})[key] = METHODS[key].summary if key in METHODS else f"of {reference}"
    if as_json:
        print(json.dumps(families, indent=2))
        return
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for family, summaries in families.items():
        table.add_row(Text(family.replace("_", " "), style="bold"))
        for key, summary in summaries.items():
            table.add_row(Text(f"  {key}"), Text(summary))
    Terminal().print(table)


def _print_one(record: SettingRecord, texts: Mapping[str, str]) -> None:
    promises = [f"{name} ({texts[name]})" if name in texts else name for name in record["assumptions"]]
    lines = {"under": record["parents"], "promises": promises, "methods": record["methods"]}
    console = Terminal()
    console.print(f"[bold]{escape(record['key'])}[/]")
    for name, values in lines.items():
        console.print(f"[dim]{name}[/] {escape(', '.join(values))}")


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
    """Return the lines of methods that are new under this setting, and of the parents' methods that do not apply."""
    above = dict.fromkeys(name for parent in parents for name in parent["methods"])
    new = [name for name in record["methods"] if name not in above]
    gone = [name for name in above if name not in record["methods"]]
    lines = [f"[dim]{', '.join(new)}[/]"] if new else []
    return [*lines, f"[dim]not {', '.join(gone)}[/]"] if gone else lines
