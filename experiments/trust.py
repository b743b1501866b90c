"""Code that a file names runs only if the user has named it, too, or says that the file is to be trusted."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

from redwood.core.registry import known_names
from redwood.experiments.arguments import UsageError
from redwood.methods.table import known_methods
from redwood.settings import ENTRY_POINTS as SETTING_GROUP
from redwood.settings import SETTINGS
from redwood.settings.data.table import DATASETS
from redwood.settings.data.table import ENTRY_POINTS as DATASET_GROUP

# Options that may name code, as `file.py:Name` or `package.module:Name`.
_CODE = ("setting", "method", "model", "expert_models", "backbone", "dataset", "background", "env")
# Options that may name a YAML file of data sets.
_FILES = ("stream_file", "concepts")
# Options for data, which may come from Hugging Face: its package runs no code of a data set from version 4 on.
_DATA, _HUGGING_FACE = ("dataset", "background"), "hf:"
# What stands before a colon that names no code: a kind of data set or of environment.
_KINDS = ("continuum:", "drift_regression:", "supervised:")
# Options for networks, which may have arguments or be of timm: what stands behind the colon is numbers or a name.
_OF_NETWORKS, _NETWORKS = ("model", "expert_models", "backbone"), ("mlp:", "timm:")


def refuse_untrusted(options: Mapping[str, object], source: Path, option: str) -> None:
    """Refuse options of a file that name code.

    Args:
        options: By name; texts, or lists of these.
        source: The file that they come from.
        option: How the file was given on the command line.

    Raises:
        UsageError: If one names code.
    """
    for name in _CODE:
        for reference in _texts(options.get(name)):
            if names_code(reference, name):
                raise UsageError(
                    f"{option} {source} names code that would be run, {name}: {reference}; look at it, then add "
                    f"--trust{f', or --{name} {reference}' if option == '--config' else ''}."
                )
    for name in _FILES:
        for file in _texts(options.get(name)):
            for reference in _data_sets_in(Path(file)):
                if names_code(reference, "dataset"):
                    raise UsageError(
                        f"{option} {source} names the file {file}, whose data set {reference} is code that would be "
                        "run; look at it, then add --trust."
                    )


def _data_sets_in(file: Path) -> Iterable[str]:
    """The data sets that a YAML file of tasks or concepts names; none if it is no such file, which a run tells."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return
    nested = [content]
    while nested:
        value = nested.pop()
        if isinstance(value, dict):
            yield from _texts(value.get("dataset"))
            nested.extend(value.values())
        elif isinstance(value, list):
            nested.extend(value)


def names_code(text: str, option: str = "") -> bool:
    """Whether an option's value names code beside redwood's own and that of installed packages' entry points.

    Args:
        text: The value.
        option: The option, without dashes, which decides what may stand before a colon.
    """
    wholes = [whole for whole in text.split(",") if not (option in _DATA and whole.strip().startswith(_HUGGING_FACE))]
    return any(_is_code(part, option) for whole in wholes for part in whole.split("+"))


def _is_code(name: str, option: str) -> bool:
    if option in _OF_NETWORKS and name.startswith(_NETWORKS):
        return False
    for kind in _KINDS:
        name = name.removeprefix(kind)
    # The name of a file alone is an error, which names what is in it: for that the file is run.
    if ":" not in name and not name.endswith(".py"):
        return False
    if name.startswith(("redwood.settings.", "redwood.methods.")) and ".py" not in name:
        return False
    tables = (
        known_names("setting", SETTINGS, SETTING_GROUP),
        known_methods(),
        known_names("data set", DATASETS, DATASET_GROUP),
    )
    return not any(name in table or name in table.values() for table in tables)


def _texts(value: object) -> Iterable[str]:
    return [str(part) for part in (value if isinstance(value, list | tuple) else [value]) if part is not None]


def options_of(arguments: Iterable[str]) -> dict[str, list[str]]:
    """What command-line arguments give each option, by its name, with as many values as there are."""
    given: dict[str, list[str]] = {}
    name = ""
    for argument in arguments:
        if argument.startswith("--"):
            name, equals, value = argument[2:].partition("=")
            given.setdefault(name, []).extend([value] if equals else [])
        elif name:
            given[name].append(argument)
    return given
