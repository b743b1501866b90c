"""Print the tree of settings with the methods that apply at each node, methods and data sets, without torch."""

import json
from collections.abc import Mapping, Sequence
from types import ModuleType

from rich.markup import escape
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from redwood.core.registry import known_names
from redwood.engine.terminal import Terminal
from redwood.experiments.stored_tree import SettingRecord, stored_tree
from redwood.methods.table import AGENT_PARTS, METHODS, known_methods
from redwood.settings.data.table import DATASETS, DOWNLOADED, ENTRY_POINTS, WITHOUT_FILES


def print_settings(as_json: bool, setting: str | None = None) -> None:
    """Print the tree, or one setting of it by its key or reference; or their records as JSON."""
    known, texts = stored_tree() if setting is None else None, dict[str, str]()
    if known is not None:
        records = list(known.values())
    else:
        classes = _listing()
        records = classes.describe_settings() if setting is None else [classes.describe_setting(setting)]
        texts = {} if setting is None else classes.declared_texts(setting)
    if as_json:
        print(json.dumps(records if setting is None else records[0], indent=2))
    elif setting is None:
        Terminal().print(setting_tree(records))
    else:
        _print_one(records[0], texts)


def _listing() -> ModuleType:
    """The module that asks the classes themselves, which imports torch."""
    from redwood.experiments import listing

    return listing


def print_methods(as_json: bool) -> None:
    """Print all methods by family, the folder or package that a method is in, with a line on each; or as JSON."""
    print_families(families(), as_json)


def print_data_sets(as_json: bool) -> None:
    """Print the data sets by what they need: nothing, a download or files; or as JSON."""
    known = known_names("data set", DATASETS, ENTRY_POINTS)
    groups = {"need no download": WITHOUT_FILES, "are downloaded when first used": DOWNLOADED}
    with_files = [name for name in DATASETS if name not in (*WITHOUT_FILES, *DOWNLOADED)]
    groups |= {"need files in --data_dir": with_files, "of other packages": [n for n in known if n not in DATASETS]}
    if as_json:
        print(json.dumps({title: names for title, names in groups.items() if names}, indent=2))
        return
    console = Terminal()
    for title, names in groups.items():
        if names:
            console.print(f"[bold]{title}[/]: {escape(', '.join(names))}", highlight=False)
    console.print("Your own: --dataset FILE, FOLDER or hf:NAME, see docs/data.md.", highlight=False)


def families() -> dict[str, dict[str, str]]:
    """The summary of each method, by families: the folder or the package that a method is in."""
    found: dict[str, dict[str, str]] = {}
    for key, reference in known_methods().items():
        family = _family_of(reference)
        found.setdefault(family, {})[key] = METHODS[key].summary if key in METHODS else f"of {reference}"
    return found


def _family_of(reference: str) -> str:
    package, _, inside = reference.partition(":")[0].partition(".")
    return inside.split(".")[1] if package == "redwood" else package


def print_families(shown: Mapping[str, Mapping[str, str]], as_json: bool) -> None:
    """Print the methods of some families, with a line on each; or as JSON."""
    if as_json:
        print(json.dumps(shown, indent=2))
        return
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for family, summaries in shown.items():
        table.add_row(Text(family.replace("_", " "), style="bold"))
        for key, summary in summaries.items():
            table.add_row(Text(f"  {key}"), Text(summary))
    Terminal().print(table)


def print_method(method: str, as_json: bool) -> None:
    """Print what a method does, its family, and where it applies."""
    records = stored_tree()
    if records is None or method not in METHODS:
        records = {record["key"]: record for record in _listing().describe_settings()}
    family = _family_of(known_methods()[method])
    summary = families()[family][method]
    applies = [key for key, record in records.items() if method in record["methods"]]
    if as_json:
        print(json.dumps({"key": method, "summary": summary, "family": family, "settings": applies}, indent=2))
        return
    console = Terminal()
    console.print(f"[bold]{escape(method)}[/] {escape(summary)}", highlight=False)
    others = [key for key in families()[family] if key != method]
    lines = {f"others of {family.replace('_', ' ')}": others, "applies under": applies}
    for name, values in lines.items():
        console.print(f"[dim]{name}[/] {escape(', '.join(values))}", highlight=False)
    if applies:
        setting = "class_incremental" if "class_incremental" in applies else applies[0]
        console.print(f"[dim]options[/] --setting {setting} --method {method} --help", highlight=False)


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
