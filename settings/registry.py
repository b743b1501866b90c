"""Look things up by key, by `package.module:Name`, by `path/to/file.py:Name`, or by entry point."""

import functools
import importlib
import importlib.util
import sys
import zlib
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from redwood.settings.errors import RedwoodError, UnknownNameError

# Modules loaded from a path get a name that starts with this.
USER_FILE_PREFIX = "redwood_user_"


@functools.cache  # it takes 10 ms, and each name that is looked up asks for it
def entry_points(group: str) -> metadata.EntryPoints:
    """What the installed packages offer under the name of a group."""
    return metadata.entry_points(group=group)


def known_names(kind: str, table: Mapping[str, str], group: str) -> dict[str, str]:
    """Return `table` (key -> `module:Name`) joined by the entry points of `group`.

    Raises:
        RedwoodError: If another package's entry point takes a key of ours.
    """
    names = dict(table)
    for entry in entry_points(group):
        if entry.name in table:
            raise RedwoodError(
                f"The entry point {entry.value} takes the name of redwood's own {kind} {entry.name!r}; rename it."
            )
        names[entry.name] = entry.value
    return names


def resolve(kind: str, name: str, table: Mapping[str, str], group: str) -> Any:
    """Return the object that `name` stands for.

    Args:
        kind: What is looked for, for the error message ("setting", "method", ...).
        name: A key of `table`, an entry point of `group`, `package.module:Name` or `path/to/file.py:Name`.
        table: Key -> `module:Name`.
        group: Entry-point group that other packages extend.

    Raises:
        UnknownNameError: If there is no such key; the nearest one is named.
        RedwoodError: If the module, file or attribute cannot be loaded.
    """
    if ":" in name and name not in table:
        return load_object(kind, name)
    names = known_names(kind, table, group)
    if name not in names:
        raise UnknownNameError(kind, name, names)
    return load_object(kind, names[name])


def load_object(kind: str, reference: str) -> Any:
    """Import `package.module:Name` or `path/to/file.py:Name`."""
    location, _, attribute = reference.rpartition(":")
    module = load_file(kind, Path(location)) if location.endswith(".py") else _load_module(kind, location)
    if not hasattr(module, attribute):
        known = [
            n for n, v in vars(module).items() if callable(v) and getattr(v, "__module__", None) == module.__name__
        ]
        raise UnknownNameError(f"{kind} in {location}", attribute, known)
    return getattr(module, attribute)


def _load_module(kind: str, name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise RedwoodError(f"The {kind} module {name!r} cannot be found; is its package installed?") from error
        raise


def load_file(kind: str, path: Path) -> Any:
    """Import a Python file by its path, once per process."""
    path = path.resolve()
    if not path.is_file():
        raise RedwoodError(f"The {kind} file {path} does not exist.")
    # One module per file and process, so that a class keeps its identity however often it is named.
    name = f"{USER_FILE_PREFIX}{path.stem}_{zlib.crc32(str(path).encode()):08x}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def reference_of(cls: type, known: Mapping[str, str]) -> str:
    """The key of a class among `known` (key -> `module:Name`), or else the reference that loads it."""
    reference = f"{cls.__module__}:{cls.__qualname__}"
    for key, value in known.items():
        if value == reference:
            return key
    if cls.__module__.startswith(USER_FILE_PREFIX):
        return f"{sys.modules[cls.__module__].__file__}:{cls.__qualname__}"
    return reference
