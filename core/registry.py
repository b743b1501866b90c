"""Look things up by key, by `package.module:Name`, by `path/to/file.py:Name`, or by entry point."""

import functools
import importlib
import importlib.util
import sys
import traceback
import zlib
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

from redwood.core.errors import RedwoodError, UnknownNameError

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


def look_up(kind: str, name: str, table: Mapping[str, str], group: str, suits: Callable[[Any], bool] = callable) -> Any:
    """Return the object that `name` stands for.

    Args:
        kind: What is looked for, for the error message ("setting", "method", ...).
        name: A key of `table`, an entry point of `group`, `package.module:Name` or `path/to/file.py:Name`.
        table: Key -> `module:Name`.
        group: Entry-point group that other packages extend.
        suits: Whether something can be what is looked for; of a module, only such things are named as known.

    Raises:
        UnknownNameError: If there is no such key; the nearest one is named.
        RedwoodError: If the module, file or attribute cannot be loaded.
    """
    if names_code(name) and name not in table:
        return load_users_object(kind, name, suits)
    names = known_names(kind, table, group)
    if name not in names:
        raise UnknownNameError(kind, name, names)
    return load_object(kind, table[name]) if name in table else load_users_object(kind, names[name], suits)


def names_code(name: str) -> bool:
    """Whether a name that is in no table stands for something in a module or file of the user."""
    return ":" in name or name.endswith(".py")


def load_users_object(kind: str, reference: str, suits: Callable[[Any], bool] = callable) -> Any:
    """Import what a user names by `package.module:Name` or `path/to/file.py:Name`.

    Args:
        kind: What is looked for, for the error message.
        reference: Where it is.
        suits: Whether something can be what is looked for.

    Raises:
        UnknownNameError: If the module has nothing of this name; what it has that suits is named.
        RedwoodError: If the module or file cannot be found or imported.
    """
    if reference.endswith(".py"):
        _refuse_bare_file(kind, reference, suits)
    location, _, attribute = reference.rpartition(":")
    if location == "__main__" or "<locals>" in attribute:
        raise RedwoodError(
            f"The {kind} {reference} was defined in a script or in a function, where it cannot be found again; "
            "put it into a module or a file of its own, and name it as file.py:Name."
        )
    module = load_users_module(kind, location, reference)
    if not hasattr(module, attribute):
        raise UnknownNameError(f"{kind} in {location}", attribute, _own_names(module, suits))
    return getattr(module, attribute)


def load_object(kind: str, reference: str) -> Any:
    """Import `module:Name` from one of our tables."""
    location, _, attribute = reference.rpartition(":")
    return getattr(_load_module(kind, location), attribute)


def line_of(error: BaseException, path: Path) -> str:
    """Where in a file an error was raised, as the end of a clause; nothing if it was not raised there."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f", in line {lines[-1]}" if lines else ""


def load_users_module(kind: str, location: str, reference: str) -> Any:
    """Import what stands before the colon of a user's reference: `package.module` or `path/to/file.py`."""
    try:
        return load_file(kind, Path(location)) if location.endswith(".py") else _load_module(kind, location)
    except RedwoodError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}{line_of(error, Path(location).resolve())}"
        raise RedwoodError(f"{reference} cannot be imported ({reason}).") from error


def _refuse_bare_file(kind: str, name: str, suits: Callable[[Any], bool]) -> NoReturn:
    known = _own_names(load_users_module(kind, name, name), suits)
    example = f", as in {name}:{known[0]}" if known else ""
    also = f" Known: {', '.join(known)}." if len(known) > 1 else "" if known else f" There is no {kind} in it."
    raise RedwoodError(f"{name} is a file; add a colon and what in it is the {kind}{example}.{also}")


def _own_names(module: Any, suits: Callable[[Any], bool]) -> list[str]:
    """Names that a module gives to things of its own which suit."""
    own = [(name, value) for name, value in vars(module).items() if not name.startswith("_")]
    return sorted(n for n, v in own if getattr(v, "__module__", None) == module.__name__ and callable(v) and suits(v))


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
