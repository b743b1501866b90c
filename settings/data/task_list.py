"""The list of tasks of a stream: from a YAML file (`--stream_file`), or from names of data sets."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from redwood.core import plain_yaml
from redwood.core.errors import DataError, InvalidOptionError, RedwoodError
from redwood.core.files import read_text
from redwood.core.schema import ListOf, Number, Record, Spec, Text
from redwood.settings.data.views import TRANSFORMS, View

_COUNT, _LABELS = Number(low=0, whole=True), ListOf(Number(low=0, whole=True), least=1)
ENTRIES: dict[str, Spec] = {
    "dataset": Text(),
    "classes": _LABELS,
    "transform": Text(pattern="|".join(TRANSFORMS)),
    "seed": _COUNT,
    "angle": Number(),
    "label_order": _LABELS,
    "train_per_class": Number(low=1, whole=True),
    "validation_per_class": _COUNT,
    "test_per_class": Number(low=1, whole=True),
    "name": Text(),
    "year": Number(whole=True),
    "group": Text(),
}
"""The keys of a task in a file, which are the fields of `View`."""


def views_of_names(names: str) -> list[View]:
    """One view for each data set of a list such as `digits,mnist`.

    Raises:
        InvalidOptionError: If a name is empty.
    """
    parts = [name.strip() for name in names.split(",")]
    if not all(parts):
        raise InvalidOptionError(f"--dataset {names} has an empty name between its commas; leave the comma out.")
    return [View(name) for name in parts]


def read_task_list(path: Path) -> list[View]:
    """Read the tasks of a YAML file: a list of mappings with the keys `ENTRIES`. Only `dataset` is required.

    Tasks with a `year` are sorted by it; tasks of one year keep their order.

    Raises:
        DataError: If the file is missing or no list of tasks, or an entry is unknown or of the wrong type.
    """
    content = read_yaml(path)
    if not isinstance(content, list) or not content:
        raise DataError(f"The file {path} holds no list of tasks; start each with '- dataset: NAME'.")
    views = [view_of(entry, f"Task {number} of {path}") for number, entry in enumerate(content)]
    without = [number for number, view in enumerate(views) if view.year is None]
    if not without:
        return sorted(views, key=lambda view: view.year or 0)
    if len(without) < len(views):
        raise DataError(f"Task {without[0]} of {path} has no year, but others have; give one to each or to none.")
    return views


def view_of(entry: object, where: str) -> View:
    """The view of one entry of a file, which messages call `where`.

    Raises:
        DataError: If a key is unknown or has no effect, or a value is of the wrong type.
    """
    spec = Record(ENTRIES, optional=frozenset(ENTRIES.keys() - {"dataset"}))
    problem = spec.problem(with_known_keys(entry, ENTRIES, where), "it")
    if problem is not None:
        raise DataError(f"{where} is no task: {problem}.")
    assert isinstance(entry, Mapping)
    needed = {"angle": "rotated", "seed": "permuted"}
    for key, transform in needed.items():
        if key in entry and entry.get("transform", "none") != transform:
            raise DataError(f"{where} gives {key}, which only transform: {transform} has; leave it out.")
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    return View(**values)


def with_known_keys(entry: object, keys: Mapping[str, object], where: str) -> Any:
    """The entry, unless it is a mapping with an unknown key.

    Raises:
        DataError: If it has one.
    """
    unknown = [str(key) for key in entry if key not in keys] if isinstance(entry, Mapping) else []
    if unknown:
        raise DataError(f"{where} has the unknown key {unknown[0]}; known are {', '.join(keys)}.")
    return entry


def read_yaml(path: Path) -> Any:
    """The content of a YAML file.

    Raises:
        DataError: If the file is missing or no YAML, or sets a key twice.
    """
    try:
        return plain_yaml.read_yaml(read_text(path))
    except RedwoodError as error:
        raise DataError(f"The file {path} {error}") from None
    except FileNotFoundError as error:
        raise DataError(f"There is no file {path}; check the path.") from error
    except OSError as error:
        raise DataError(f"The file {path} cannot be read ({error.strerror}); name another one.") from error
    except (ValueError, yaml.YAMLError) as error:
        raise DataError(f"The file {path} cannot be read as YAML ({' '.join(str(error).split())}).") from error
