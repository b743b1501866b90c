"""Pages that are made from code when the site is built: one per setting, method and example, and the API."""

import ast
import inspect
from collections.abc import Iterable
from dataclasses import fields
from importlib import import_module
from pathlib import Path

from docs.generate import JOINED, first_line, option_table, plain, table

from redwood.core.registry import load_object
from redwood.experiments.listing import describe_settings
from redwood.experiments.stored_tree import SettingRecord
from redwood.methods import METHODS, Method
from redwood.settings import SETTINGS, get_setting

ROOT = Path(__file__).parent.parent

Pages = dict[str, str]  # the text of each page, by its path inside the site

# What users import beside settings and methods, by page.
API = {
    "runs": (
        *("experiments.from_python.run", "experiments.from_python.compare", "experiments.from_python.resume"),
        *("engine.pair_results.PairResults", "experiments.comparisons.comparison.Comparison"),
    ),
    "settings": (
        *("settings.Setting", "settings.Assumptions", "settings.Phase", "settings.Batch", "settings.Dataset"),
        *("settings.Results", "settings.ReinforcementSetting"),
    ),
    "methods": ("methods.Method", "methods.LightningMethod", "methods.Step", "methods.Composition", "methods.compose"),
    "buffers": (
        *("buffers.RehearsalBuffer", "buffers.Policy", "buffers.Sampler", "buffers.AsyncRehearsalBuffer"),
        *("buffers.AsyncRehearsalStrategy", "buffers.AsyncRehearsalCallback", "buffers.RowLayout"),
    ),
    "trained_models": ("load", "experiments.trained.model.TrainedModel"),
    "module_library": ("branches.modular.library.ModuleLibrary",),
}


def setting_pages() -> Pages:
    """A page for each setting."""
    records = {record["key"]: record for record in describe_settings() if record["key"] in SETTINGS}
    return {f"settings/{key}.md": _setting_page(record, records) for key, record in records.items()}


def _setting_page(record: SettingRecord, records: dict[str, SettingRecord]) -> str:
    key, cls = record["key"], get_setting(record["key"])
    children = [name for name, other in records.items() if key in other["parents"]]
    method = next(name for name in ("rehearsal", "dqn", "slice_tuner", "random") if name in record["methods"])
    facts = [
        ["promises", ", ".join(promise.replace("_", " ") for promise in record["assumptions"])],
        *([name.replace("_", " "), plain(promise.text)] for name, promise in cls.assumptions.declared.items()),
        ["under", _links("settings", [parent for parent in record["parents"] if parent in records])],
        ["above", _links("settings", children)],
        ["from Python", f"`from {_module('settings', cls)} import {cls.__name__}`"],
        ["source", f"`{_source(cls)}`"],
    ]
    return "\n".join(
        [
            f"# {key}\n",
            f"{plain(first_line(cls))}\n",
            _start(key, method),
            _facts(facts),
            _docstring(cls),
            f"## Methods\n\n{len(record['methods'])} methods apply: {_links('methods', record['methods'])}.\n",
            f"## Options\n\n{option_table(cls, _fields(cls))}",
        ]
    )


def _start(setting: str, method: str) -> str:
    """How to start a run, on the command line and in Python."""
    call = f'import redwood\n\nredwood.run("{setting}", "{method}")'
    return f"```bash\npython cli.py --setting {setting} --method {method}\n```\n\n```python\n{call}\n```\n"


def method_pages() -> Pages:
    """A page for each method."""
    records = [record for record in describe_settings() if record["key"] in SETTINGS]
    return {f"methods/{key}.md": _method_page(key, records) for key in METHODS}


def _method_page(key: str, records: Iterable[SettingRecord]) -> str:
    entry = METHODS[key]
    cls = load_object("method", entry.reference)
    assert isinstance(cls, type) and issubclass(cls, Method)
    applies = [record["key"] for record in records if key in record["methods"]]
    setting = "class_incremental" if "class_incremental" in applies else applies[0]
    target = [record["key"] for record in records if get_setting(record["key"]) is cls.target]
    facts = [
        ["target", _links("settings", target) or "every setting"],
        ["joined with `+`", JOINED[cls.composition]],
        ["predicts numbers", "yes" if cls.regression else "no"],
        ["label sets", "yes" if cls.multi_label else "no"],
        ["family", entry.family.replace("_", " ")],
        ["from Python", f"`from {_module('methods', cls)} import {cls.__name__}`"],
        ["source", f"`{_source(cls)}`"],
    ]
    return "\n".join(
        [
            f"# {key}\n",
            f"{plain(entry.summary[0].upper() + entry.summary[1:])}.\n",
            _start(setting, key),
            _facts(facts),
            _docstring(cls),
            f"## Settings\n\nApplies to {len(applies)} settings: {_links('settings', applies)}.\n",
            f"## Options\n\n{option_table(cls, _fields(cls))}",
        ]
    )


def api_pages() -> Pages:
    """A page for each part of the API."""
    return {
        f"api/{name}.md": f"# {name.replace('_', ' ')}\n\n" + "\n".join(f"::: redwood.{path}" for path in paths) + "\n"
        for name, paths in API.items()
    }


def example_pages() -> Pages:
    """A page for each example: its docstring and its code."""
    return {f"examples/{path.stem}.md": source_page(path) for path in sorted((ROOT / "examples").glob("*.py"))}


def source_page(path: Path) -> str:
    """A page that shows a Python file."""
    text = path.read_text()
    headline = (ast.get_docstring(ast.parse(text)) or path.stem).splitlines()[0]
    return f'# {path.stem}\n\n{headline}\n\n```python title="{path.relative_to(ROOT)}"\n{text}```\n'


def families() -> dict[str, list[str]]:
    """The pages of the methods, by family."""
    found: dict[str, list[str]] = {}
    for key, entry in METHODS.items():
        found.setdefault(entry.family.replace("_", " "), []).append(f"methods/{key}.md")
    return found


def _docstring(cls: type) -> str:
    options = "members: false\n      show_root_heading: false\n      show_root_toc_entry: false\n"
    return f"## What it is\n\n::: {cls.__module__}.{cls.__name__}\n    options:\n      {options}"


def _facts(rows: list[list[str]]) -> str:
    return table(("", ""), [row for row in rows if row[1]])


def _links(folder: str, keys: Iterable[str]) -> str:
    return ", ".join(f"[`{key}`](../{folder}/{key}.md)" for key in keys)


def _fields(cls: type) -> list[str]:
    """The options of a class, its own first."""
    known = {f.name for f in fields(cls)}
    return list(dict.fromkeys(name for base in cls.__mro__ for name in inspect.get_annotations(base) if name in known))


def _module(package: str, cls: type) -> str:
    exported = cls.__name__ in import_module(f"redwood.{package}").__all__
    return f"redwood.{package}" if exported else cls.__module__


def _source(cls: type) -> str:
    return cls.__module__.removeprefix("redwood.").replace(".", "/") + ".py"


def code_pages() -> Pages:
    """All of them."""
    return setting_pages() | method_pages() | api_pages() | example_pages()
