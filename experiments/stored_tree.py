"""The tree of settings and the methods that apply at each node, as a file says them: no library is imported.

`python -m docs.generate` writes the file from the classes. It counts as long as the classes are written as they were
then. Otherwise the classes themselves are asked, which imports torch.
"""

import ast
import functools
import json
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypedDict

from redwood.methods.table import METHODS, agent_hint, bound_hint, method_names
from redwood.settings.table import SETTINGS, not_below, setting_names

ROOT = Path(__file__).resolve().parents[1]
FILE = Path(__file__).with_suffix(".json")


# What `list --json` says of a setting: names of it, of its parents, of its promises, and of methods that apply.
SettingRecord = TypedDict(
    "SettingRecord",
    {"key": str, "class": str, "parents": list[str], "assumptions": list[str], "methods": list[str]},
)


class _Content(TypedDict):
    fingerprint: int
    classes: list[str]
    tree: dict[str, SettingRecord]


def stored_reason(setting: str, method: str) -> str | None:
    """Why a method targets other settings, in the words of `pairs.select_pairs`.

    Returns:
        The reason; None if the method applies, requires more than its target, or the file does not tell.
    """
    record = (stored_tree() or {}).get(setting)
    entry = METHODS.get(method)
    if record is None or entry is None or entry.requires or method in record["methods"]:
        return None
    target = SETTINGS.get(entry.target, entry.target).rpartition(":")[2]
    reason = not_below(record["class"], entry.reference.rpartition(":")[2], target)
    if entry.target == "cumulative":  # as an upper bound does
        children = [other for other in (stored_tree() or {}).values() if setting in other["parents"]]
        reason += next((bound_hint(method, child["key"]) for child in children if method in child["methods"]), "")
    return reason + agent_hint(method, "rewards" in record["assumptions"])


def stored_tree() -> dict[str, SettingRecord] | None:
    """The records of all settings by key, as `listing.describe_settings` makes them; None if they may have changed."""
    content = _content()
    others = [*setting_names(), *method_names()] != [*SETTINGS, *METHODS]
    if others or content["fingerprint"] != fingerprint(content["classes"]):
        return None
    return content["tree"]


def fingerprint(classes: Sequence[str]) -> int:
    """Return a number that changes with the settings, or with the table of methods.

    Args:
        classes: `module:Name` of the settings and of all their bases in redwood.
    """
    declared = "\n".join(_declarations(name.partition(":")[0]).get(name, "") for name in classes)
    entries = [(key, entry.target, sorted(entry.requires)) for key, entry in METHODS.items()]
    return zlib.crc32(repr((list(SETTINGS.items()), entries)).encode(), zlib.crc32(declared.encode()))


@functools.cache
def _declarations(module: str) -> dict[str, str]:
    """Read the declarations of a redwood module's classes from its source, by `module:Name`."""
    path = ROOT.joinpath(*module.split(".")[1:]).with_suffix(".py")
    try:
        source = path.read_text(encoding="utf-8")
    except OSError:
        return {}
    lines = source.splitlines()
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            text = [ast.unparse(part) for part in (*node.bases, *node.keywords)]
            text.append(ast.get_docstring(node) or "")
            for part in node.body:
                if isinstance(part, ast.Assign | ast.AnnAssign):
                    text += lines[part.lineno - 1 : part.end_lineno]
            found[f"{module}:{node.name}"] = "\n".join(text)
    return found


@functools.cache
def _content() -> _Content:
    content: _Content = json.loads(FILE.read_text(encoding="utf-8"))
    return content


def text_of(classes: Sequence[str], records: Iterable[SettingRecord]) -> str:
    """The text of the file, one record per line, so that changes can be merged.

    Args:
        classes: `module:Name` of the settings and of all their bases in redwood.
        records: One per setting.
    """
    names = ",\n".join(map(json.dumps, classes))
    tree = ",\n".join(f"{json.dumps(record['key'])}: {json.dumps(record)}" for record in records)
    return f'{{"fingerprint": {fingerprint(classes)},\n"classes": [\n{names}\n],\n"tree": {{\n{tree}\n}}}}\n'
