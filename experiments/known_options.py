"""The options of redwood's own settings and methods, and the tree, as a file says them: no library is imported.

`python -m docs.generate` writes the file from the classes. An entry counts as long as the classes are written as they
were then. Otherwise, and for code of the user, the classes themselves are asked, which imports torch.
"""

import argparse
import ast
import functools
import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from simple_parsing.help_formatter import SimpleHelpFormatter

from redwood.core.files import read_json
from redwood.experiments.arguments import OneSentenceParser, add_selection, program, refuse_unknown
from redwood.methods.table import METHODS, agent_hint, method_names
from redwood.settings.table import SETTINGS, not_below, setting_names

ROOT = Path(__file__).resolve().parents[1]
FILE = Path(__file__).with_suffix(".json")
RUN = "redwood.engine.run:Run"
_TYPES: dict[str, Callable[[str], object]] = {"int": int, "float": float, "str": str}


# What `--list --json` says of a setting: names of it, of its parents, of its promises, and of methods that apply.
SettingRecord = TypedDict(
    "SettingRecord",
    {"key": str, "class": str, "parents": list[str], "assumptions": list[str], "methods": list[str]},
)


class HelpFormatter(SimpleHelpFormatter):
    """Shows the default of each option that has one, once: some texts name it themselves."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help
        if not text or "(default" in text or action.default is None or action.nargs == 0:
            return text
        return f"{text} (default: {'none' if action.default in ([], '') else '%(default)s'})"


class KnownPair:
    """What the file says of a setting and a method that applies to it."""

    def __init__(
        self, setting: str, method: str, records: Sequence[dict[str, Any]], options: Mapping[str, dict[str, Any]]
    ) -> None:
        """Take the records of the setting, the method and the run, and those of all options."""
        self._label = f"--setting {setting} --method {method}"
        self._records, self._options = records, options

    def help(self) -> str:
        """The help of the pair."""
        own = {name for group in self._records[1]["groups"] for _, *names in group["options"] for name in names}
        return self._parser(trials="trials" not in own, shown=True).format_help()

    def check(self, arguments: Sequence[str]) -> None:
        """Raise `UsageError` for the first argument that the pair does not take, or whose value has another type."""
        parser = self._parser(trials=False, shown=False)
        refuse_unknown(
            arguments, {option: action for action in parser._actions for option in action.option_strings}, self._label
        )
        parser.parse_known_args(list(arguments))

    def _parser(self, *, trials: bool, shown: bool) -> argparse.ArgumentParser:
        parser = OneSentenceParser(
            prog=program(),
            add_help=False,
            allow_abbrev=False,
            description=f"Options of {self._label}.",
            formatter_class=HelpFormatter,
        )
        add_selection(parser, trials=trials)
        for group in (group for record in self._records for group in record["groups"]):
            part = parser.add_argument_group(group["title"], group["description"])
            for owner, *names in group["options"]:
                for name in names:
                    part._add_action(_KnownAction(name, self._options[f"{owner}.{name}"], shown))
        return parser


class _KnownAction(argparse.Action):
    """An option as the file describes it."""

    def __init__(self, name: str, record: dict[str, Any], shown: bool) -> None:
        read = record["type"] is None or record["type"] in _TYPES
        super().__init__(
            record["flags"],
            name,
            nargs=record["nargs"],
            default=record["default"] if shown else None,  # argparse would read a default
            type=_type(record["type"]),
            choices=record["choices"] if shown or read else None,
            help=record["help"],
            metavar=record["metavar"],
        )
        self._usage = record["usage"]

    def __call__(self, *values: object) -> None:
        """Nothing is done with the value."""

    def format_usage(self) -> str:
        """The names of the option in the line of usage."""
        return str(self._usage)


def _type(name: str | None) -> Callable[[str], object] | None:
    """What reads a value; those of other types than numbers and texts are taken as they are."""
    if name is None or name in _TYPES:
        return None if name is None else _TYPES[name]

    def unread(value: str) -> str:
        return value

    unread.__name__ = name
    return unread


def known_pair(setting: str, method: str) -> KnownPair | None:
    """What the file says of a pair; None if it is not about redwood's own classes as they are now.

    Args:
        setting: The key of a setting.
        method: The key of a method.
    """
    if setting not in SETTINGS or method not in METHODS:
        return None
    content = _content()
    if method not in content["tree"].get(setting, {}).get("methods", ()):
        return None
    names = (SETTINGS[setting], METHODS[method].reference, RUN)
    records = [content["classes"][name] for name in names if name in content["classes"]]
    valid = all(fingerprint(record["bases"]) == record["fingerprint"] for record in records)
    return KnownPair(setting, method, records, content["options"]) if valid and len(records) == len(names) else None


def known_reason(setting: str, method: str) -> str | None:
    """Why a method targets other settings, in the words of `pairs.select_pairs`.

    Returns:
        The reason; None if the method applies, requires more than its target, or the file does not tell.
    """
    record = (known_tree() or {}).get(setting)
    entry = METHODS.get(method)
    if record is None or entry is None or entry.requires or method in record["methods"]:
        return None
    target = SETTINGS.get(entry.target, entry.target).rpartition(":")[2]
    reason = not_below(record["class"], entry.reference.rpartition(":")[2], target)
    return reason + agent_hint(method, "rewards" in record["assumptions"])


def known_tree() -> dict[str, SettingRecord] | None:
    """The records of all settings by key, as `listing.describe_settings` makes them; None if they may have changed."""
    content = _content()
    others = [*setting_names(), *method_names()] != [*SETTINGS, *METHODS]
    if others or content["rules"] != tree_fingerprint(content["classes"][name]["bases"] for name in SETTINGS.values()):
        return None
    tree: dict[str, SettingRecord] = content["tree"]
    return tree


def tree_fingerprint(bases: Iterable[Sequence[str]]) -> int:
    """A number that changes with the settings, given by their bases, or with what the table of methods says."""
    classes = dict.fromkeys(name for names in bases for name in names)
    entries = [(key, entry.target, sorted(entry.requires)) for key, entry in METHODS.items()]
    return zlib.crc32(repr((list(SETTINGS.items()), entries)).encode(), fingerprint(list(classes)))


def fingerprint(classes: Sequence[str]) -> int:
    """A number that changes with what classes declare: their bases, docstrings, fields and comments beside these.

    Args:
        classes: `module:Name` of each.
    """
    return zlib.crc32("\n".join(_declarations(name.partition(":")[0]).get(name, "") for name in classes).encode())


@functools.cache
def _declarations(module: str) -> dict[str, str]:
    """What the classes of a module of redwood declare, by `module:Name`, read off its source."""
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
def _content() -> dict[str, Any]:
    content = read_json(FILE)
    assert isinstance(content, dict)
    return content


def text_of(content: dict[str, Any]) -> str:
    """The text of the file, one record per line, so that changes can be merged."""
    parts = [f'"rules": {content["rules"]}']
    for part in ("tree", "classes", "options"):
        lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(record)}" for name, record in content[part].items())
        parts.append(f'"{part}": {{\n{lines}\n}}')
    return "{" + ",\n".join(parts) + "}\n"
