"""Trust in files: code that a file names runs only if the user names it, too, or trusts the file.

The import itself refuses the rest (`redwood.core.imports`). Here it is told before anything has begun, and by its
option.
"""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import yaml

from redwood.core.calls import command_with, command_word, in_python, python_call
from redwood.core.files import read_text
from redwood.core.imports import is_own, is_reference
from redwood.core.plain_yaml import read_yaml
from redwood.core.registry import class_in, is_lost, known_names
from redwood.experiments.command_line.arguments import UsageError
from redwood.methods.table import known_methods
from redwood.settings import ENTRY_POINTS as SETTING_GROUP
from redwood.settings import SETTINGS
from redwood.settings.data.table import DATASETS
from redwood.settings.data.table import ENTRY_POINTS as DATASET_GROUP

# Options whose texts are no references: columns, labels, and paths. An option that is missing here is safe: texts that
# look like code are refused.
TEXTS = {"project", "table", "target_column", "task_column", "time_column", "slices", "extends"} | {
    *("data_dir", "buffer_dir", "run_dir", "library", "reference", "weights", "backbone_weights"),
    *("stream_file", "concepts"),
}
LOAD = "redwood.load"
_OWN_CODE = "; that runs it, and your own code needs it, too"
# Data may come from Hugging Face: its package runs no code of a data set from version 4 on. These options are for code.
_HUGGING_FACE, _CODE = "hf:", ("setting", "method", "env")
# Prefixes with a colon that name no code: a kind of data set or of environment.
_KINDS = ("continuum:", "drift_regression:", "supervised:")
# Options for networks. A network may have arguments or be of timm: then numbers or a name stand behind the colon.
_OF_NETWORKS, _NETWORKS = ("model", "expert_models", "backbone"), ("timm:",)


def refuse_untrusted(options: Mapping[str, object], source: Path, option: str, given: Collection[str] = ()) -> None:
    """Refuse options of a file that name code, or a YAML file that names code.

    Args:
        options: The options by name; texts, or lists of these.
        source: The file that they come from.
        option: The option that gave the file on the command line, a command, or `redwood.load`.
        given: Names that stand for classes from Python, which need no trust.

    Raises:
        UsageError: If one names code.
    """
    for name, value in options.items():
        for text in _texts(value):
            if name not in TEXTS and text not in given and names_code(text, name):
                word = command_word() if option == LOAD else None
                raise UsageError(
                    f"{word or option} {source} names code that would be run, {name}: {text}; "
                    f"{_remedy(option, source, name, text)}."
                )
            for reference in _data_sets_in(Path(text)) if text.endswith((".yaml", ".yml")) else ():
                if names_code(reference, "dataset"):
                    raise UsageError(
                        f"{option} {source} names the file {text}, whose data set {reference} is code that would be "
                        f"run; look at it, then add {_trust()}."
                    )


def _remedy(option: str, source: Path, name: str, text: str) -> str:
    """How to have the code run that an option of a file names."""
    function = {"resume": "resume", LOAD: "load"}.get(option)
    if function is None or name not in ("setting", "method"):
        also = f", or --{name} {text}" if option == "--config" else ""
        return f"look at it, then add {_trust()}{also}{_OWN_CODE}"
    call = python_call(function, source.parent, f"{name}={class_in(text)}")
    if is_lost(text):
        return f"call {call}" if in_python() else f"go on from Python, by {call}"
    return f"look at it, then add {_trust()}{f', or call {call}' if in_python() else ''}{_OWN_CODE}"


def _trust() -> str:
    again = command_with("--trust")
    return "trust=True" if in_python() else f"--trust to the command{f' ({again})' if again else ''}"


def _data_sets_in(file: Path) -> Iterable[str]:
    """Yield the data sets in a YAML file of tasks or concepts; none if it is not such a file: the run reports that."""
    try:
        content = read_yaml(read_text(file))
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
    """True if an option's value names code other than redwood's own and the entry points of installed packages.

    Args:
        text: The value.
        option: The option, without dashes; it decides which prefixes with a colon are allowed.
    """
    no_data = option in (*_CODE, *_OF_NETWORKS)
    wholes = [whole for whole in text.split(",") if no_data or not whole.strip().startswith(_HUGGING_FACE)]
    return any(_is_code(part.strip(), option) for whole in wholes for part in whole.split("+"))


def _is_code(name: str, option: str) -> bool:
    if option in _OF_NETWORKS and name.startswith(_NETWORKS):
        return False
    for kind in _KINDS:
        name = name.removeprefix(kind)
    # The path of a file alone is an error. Its message names the content of the file, so the file is run.
    if (not is_reference(name) and ".py:" not in name) or is_own(name):
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
    """Return the values of each option among command-line arguments, by the option's name."""
    given: dict[str, list[str]] = {}
    name = ""
    for argument in arguments:
        if argument.startswith("--"):
            name, equals, value = argument[2:].partition("=")
            given.setdefault(name, []).extend([value] if equals else [])
        elif name:
            given[name].append(argument)
    return given
