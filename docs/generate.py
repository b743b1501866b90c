"""Write what is read off the code: tables of methods, settings, options and folders in the pages, and llms.txt.

Run `python -m docs.generate` after a change to these. A page marks such a part by `<!-- generated: NAME -->` and
`<!-- end -->`; NAME is a key of `PARTS`. `tests/test_generated_docs.py` compares the pages with the code.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, fields
from itertools import combinations
from pathlib import Path

from docs.house import house, late_imports
from simple_parsing.docstring import get_attribute_docstring

from docs import llms
from redwood.core.parts import Kind, kinds_of, option_fields, usual_part
from redwood.core.peer_words import TABLE, Word
from redwood.core.registry import load_object
from redwood.engine.run import Run
from redwood.experiments import stored_tree
from redwood.experiments.listing import describe_settings
from redwood.experiments.presets.catalog import load_presets
from redwood.methods import AGENT_PARTS, METHODS, Composition, Method
from redwood.methods.composition import why_barred
from redwood.methods.table import MethodEntry
from redwood.settings import SETTINGS, get_setting
from redwood.settings.base import Setting

DOCS = Path(__file__).parent
PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
# Code, and signs that Markdown or HTML would take for marks. An underscore inside a word is none.
SIGN = re.compile(r"(`[^`]*`)|([*<\\]|(?<!\w)_|_(?!\w))")

# How a method can be joined to others by a plus sign.
JOINED = {
    Composition.ANYWHERE: "yes",
    Composition.FIRST: "yes",
    Composition.LAST: "one of these",
    Composition.NEVER: "no",
}


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table of Markdown."""
    columns = list(header)
    lines = [columns, ["---"] * len(columns), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def plain(text: str) -> str:
    """A text as Markdown that shows each of its signs; in it only backticks are marks."""
    return SIGN.sub(lambda match: match[1] or ("&lt;" if match[2] == "<" else f"\\{match[2]}"), text)


def code(keys: Iterable[str]) -> str:
    """Keys as code, with commas."""
    return ", ".join(f"`{key}`" for key in keys)


def methods() -> str:
    """One table of methods per family."""
    families: dict[str, list[list[str]]] = {}
    for key, entry in METHODS.items():
        cls = _class(entry)
        numbers = "yes" if cls.regression else ""
        row = [f"`{key}`", _target(cls), plain(entry.summary), JOINED[cls.composition], numbers]
        families.setdefault(entry.family, []).append(row)
    header = ("`--method`", "target", "what it does", "with `+`", "numbers")
    return "\n".join(f"### {family.replace('_', ' ')}\n\n{table(header, rows)}" for family, rows in families.items())


def exclusions() -> str:
    """The table of methods that do not go together, though each can be joined to others; each pair once."""
    joinable = {key: _class(entry) for key, entry in METHODS.items()}
    joinable = {key: cls for key, cls in joinable.items() if cls.composition is not Composition.NEVER}
    excluded: dict[tuple[str, str], list[str]] = {}
    for (key, cls), (other, other_cls) in combinations(joinable.items(), 2):
        why = why_barred(cls, other_cls) or why_barred(other_cls, cls) or _no_target(cls, other_cls)
        if why is not None:
            excluded.setdefault((key, why), []).append(other)
    merged: dict[tuple[str, str], list[str]] = {}
    for (key, why), others in excluded.items():
        merged.setdefault((code(others), why), []).append(key)
    rows = ([code(keys), others, why.removeprefix("as ")] for (others, why), keys in merged.items())
    return table(("method", "does not go with", "because"), rows)


def _no_target(*classes: type[Method]) -> str | None:
    """Why methods have no setting in common; None if the target of one lies below those of the others."""
    targets = [cls.target for cls in classes]
    nested = any(all(issubclass(target, other) for other in targets) for target in targets)
    return None if nested else "no setting suits both"


def agent_parts() -> str:
    """The table of what can be joined to an agent."""
    rows = ([f"`+{key}`", _target(_class(entry)), plain(entry.summary)] for key, entry in AGENT_PARTS.items())
    return table(("joined to an agent", "target", "what it does"), rows)


def method_options() -> str:
    """The options of all methods, class by class."""
    classes = {key: _class(entry) for key, entry in METHODS.items()}
    return options(classes | {f"+{key}": _class(entry) for key, entry in AGENT_PARTS.items()})


def settings() -> str:
    """The table of settings."""
    records = {str(record["key"]): record for record in describe_settings() if record["key"] in SETTINGS}
    rows = []
    for key, record in records.items():
        parents = [parent for parent in record["parents"] if parent in records]
        inherited = {promise for parent in parents for promise in records[parent]["assumptions"]}
        added = [promise.replace("_", " ") for promise in record["assumptions"] if promise not in inherited]
        rows.append([f"`{key}`", code(parents), ", ".join(added), plain(first_line(get_setting(key)))])
    return table(("`--setting`", "under", "adds", "what it is"), rows)


def setting_options() -> str:
    """The options of all settings, class by class."""
    return options({key: get_setting(key) for key in SETTINGS})


def run_options() -> str:
    """The options of a run."""
    return option_table(Run, [f.name for f in fields(Run)])


def peer_words() -> str:
    """The words of other libraries, one table for each kind of name."""
    return "\n".join(
        table((f"{kind}s", "in redwood", "accepted"), [_peer_row(kind, *entry) for entry in entries.items()])
        for kind, entries in TABLE.items()
    )


def _peer_row(kind: str, words: str, word: Word) -> list[str]:
    names = [f"--{name}" if kind == "option" else name for name in words.split()]
    note = re.sub(r"--\w+", lambda match: f"`{match[0]}`", word.note)
    return [code(names), note.format(f"`{word.ours}`") if note else f"`{word.ours}`", "no" if note else "yes"]


def presets() -> str:
    """The table of presets."""
    rows = (
        [f"`{name}`", f"`{preset.setting}`", f"{preset.target:g} ± {preset.tolerance:g}", preset.status]
        for name, preset in load_presets().items()
    )
    return table(("`--preset`", "setting", "target (%)", "status"), rows)


def options(classes: Mapping[str, type[Method] | type[Setting]]) -> str:
    """The options of several classes: one table for each class that declares some.

    Args:
        classes: By key. An option stands under the class that gives it its default.
    """
    blocks: dict[type, dict[str, list[str]]] = {}
    for key, cls in classes.items():
        for f in fields(cls):
            owner = next(base for base in cls.__mro__ if f.name in inspect.get_annotations(base))
            blocks.setdefault(owner, {}).setdefault(f.name, []).append(key)
    text = []
    for owner in sorted(blocks, key=lambda owner: -max(map(len, blocks[owner].values()))):
        names = [name for name in inspect.get_annotations(owner) if name in blocks[owner]]
        users = list(dict.fromkeys(key for name in names for key in blocks[owner][name]))
        everyone = len(users) == len(classes)
        title = f"### `{users[0]}`" if len(users) == 1 else f"### `{owner.__name__}`"
        whose = "" if len(users) == 1 else "\nAll have these.\n" if everyone else f"\nOptions of {code(users)}.\n"
        text.append(f"{title}\n{whose}\n{option_table(owner, names)}")
    return "\n".join(text)


def option_table(cls: type, names: Iterable[str]) -> str:
    """Options of one class with their defaults and their help."""
    known = {f.name: f for f in fields(cls) if f.name in option_fields(cls)}
    rows = (
        [_flag(known[name]), plain(_default(cls, known[name])), plain(help_of(cls, name))]
        for name in names
        if name in known
    )
    return table(("option", "default", "what it is"), rows)


def part_options() -> str:
    """The parts of all kinds: what each does, and its options."""
    owners: list[type] = [*map(get_setting, SETTINGS), *map(_class, METHODS.values()), Run]
    kinds: dict[Kind, str] = {}
    for owner in owners:
        _collect(owner, kinds)
    text = []
    for kind, what in kinds.items():
        rows = []
        for name, part in kind.choices().items():
            its = [f"`--{option}` ({help_of(part, option)})" for option in option_fields(part)]
            rows.append([f"`{name}`", plain(first_line(part)), plain("; ".join(its))])
        text.append(f"### `--{kind.option}`: {plain(what)}\n\n{table(('name', 'what it does', 'options'), rows)}")
    return "\n".join(text)


def _collect(owner: type, kinds: "dict[Kind, str]") -> None:
    """Add the kinds of parts that a class and its parts have, with what their options are for."""
    for name, kind in kinds_of(owner).items():
        if kind not in kinds:
            kinds[kind] = help_of(owner, name)
            for part in kind.choices().values():
                _collect(part, kinds)


def help_of(cls: type, name: str) -> str:
    """What `--help` says of an option."""
    told = next(f.metadata.get("help") for f in fields(cls) if f.name == name)
    if told:
        return str(told)
    found = get_attribute_docstring(cls, name)
    return " ".join((found.comment_inline or found.comment_above or found.docstring_below).split())


def first_line(cls: type) -> str:
    """The first line of a docstring."""
    return (inspect.getdoc(cls) or "").splitlines()[0]


def _class(entry: MethodEntry) -> type[Method]:
    found = load_object("method", entry.reference)
    assert isinstance(found, type) and issubclass(found, Method)
    return found


def _target(cls: type[Method]) -> str:
    keys = {get_setting(key): key for key in SETTINGS}
    return f"`{keys[cls.target]}`" if cls.target in keys else "every setting"


def _flag(f: "Field[object]") -> str:
    return f"`{f.metadata.get('alias', [f'--{f.name}'])[0]}`"


def _default(cls: type, f: "Field[object]") -> str:
    if f.name in kinds_of(cls):
        kind = kinds_of(cls)[f.name]
        return kind.text_of(usual_part(kind, cls, f.name))
    value = f.default_factory() if f.default_factory is not MISSING else f.default
    return "" if value is None or value == [] or value == "" else str(value)


PARTS: dict[str, Callable[[], str]] = {
    part.__name__: part
    for part in (
        *(methods, exclusions, agent_parts, method_options, settings, setting_options, run_options, part_options),
        *(presets, peer_words, house, late_imports),
    )
}


def regenerated(page: str) -> str:
    """A page whose marked parts say what the code says."""
    return PART.sub(lambda match: f"{match[1]}\n{PARTS[match[2]]()}\n{match[3]}", page)


def tree_file() -> str:
    """What the file of the tree of settings has to hold."""
    bases = [base for key in SETTINGS for base in get_setting(key).__mro__ if base.__module__.startswith("redwood.")]
    classes = dict.fromkeys(f"{base.__module__}:{base.__qualname__}" for base in bases)
    records = [record for record in describe_settings() if record["key"] in SETTINGS]
    return stored_tree.text_of(list(classes), records)


def pages() -> list[Path]:
    """The pages that have such parts."""
    return [path for path in sorted(DOCS.glob("*.md")) if PART.search(path.read_text())]


def main() -> None:
    """Write all pages anew."""
    for path in pages():
        path.write_text(regenerated(path.read_text()))
    llms.FILE.write_text(llms.text())
    stored_tree.FILE.write_text(tree_file())


if __name__ == "__main__":
    main()
