"""Find a class or function by its key, by `package.module:Name`, by `path/to/file.py:Name`, or by entry point."""

import importlib
import importlib.util
import inspect
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import NoReturn, TextIO

from redwood.core.branches import entries
from redwood.core.errors import ClassWarning, RedwoodError, UnknownNameError
from redwood.core.imports import is_reference, may_import
from redwood.core.neighbours import USER_FILE_PREFIX, NeighbourLoader, module_name

# Warnings about classes of users' files that have not been shown yet.
_kept: dict[type, list[warnings.WarningMessage]] = {}


def known_names(kind: str, table: Mapping[str, str], group: str) -> dict[str, str]:
    """Return `table` (key -> `module:Name`) together with what branches and other packages add to `group`.

    Raises:
        RedwoodError: If two of them have the same key.
    """
    names = dict(table)
    for name, reference in entries(group):
        if names.setdefault(name, reference) != reference:
            whose = "redwood's own " if name in table else f"{names[name]}, a "
            raise RedwoodError(f"The entry point {reference} takes the name of {whose}{kind} {name!r}; rename it.")
    return names


def look_up(
    kind: str, name: str, table: Mapping[str, str], group: str, suits: Callable[[object], bool] = callable
) -> object:
    """Return the object that `name` stands for.

    Args:
        kind: The kind of object, for the error message ("setting", "method", ...).
        name: A key of `table`, an entry point of `group`, `package.module:Name` or `path/to/file.py:Name`.
        table: Key -> `module:Name`.
        group: Group of entry points with which other packages add names.
        suits: Whether an object is of this kind; messages name only such objects of a module.

    Raises:
        UnknownNameError: If there is no such key; the message names the nearest one.
        RedwoodError: If the module, file or attribute cannot be loaded, or must not be imported.
    """
    names = known_names(kind, table, group)
    if name in table:
        return load_object(kind, table[name])
    if name in names or name in names.values():
        reference = names.get(name, name)
        return _attribute(kind, reference, _import(reference.rpartition(":")[0], kind, reference), suits)
    if names_code(name):
        return load_users_object(kind, name, suits)
    raise UnknownNameError(kind, name, names)


def names_code(name: str) -> bool:
    """True if a name refers to a module or a file of the user."""
    return ":" in name or name.endswith(".py")


def load_users_object(kind: str, reference: str, suits: Callable[[object], bool] = callable) -> object:
    """Import the object that a user names as `package.module:Name` or `path/to/file.py:Name`.

    Args:
        kind: The kind of object, for the error message.
        reference: The name.
        suits: Whether an object is of this kind.

    Raises:
        UnknownNameError: If the module has no such object; the message names the suitable ones.
        RedwoodError: If the module or file cannot be found or imported, or must not be.
    """
    if reference.endswith(".py"):
        _refuse_bare_file(kind, reference, suits)
    if is_lost(reference):
        classes = f", or give the class, as in redwood.load(DIR, {kind}=Mine)" if kind in ("setting", "method") else ""
        raise RedwoodError(
            f"The {kind} {reference} was defined in a script or in a function, where it cannot be found again; "
            f"put it into a module or a file of its own, and name it as file.py:Name{classes}."
        )
    location = reference.rpartition(":")[0]
    return _attribute(kind, reference, load_users_module(kind, location, reference), suits)


def is_lost(reference: str) -> bool:
    """True if a reference is that of an object of a script, a notebook or a function, which no other process finds."""
    location, _, attribute = reference.rpartition(":")
    return location == "__main__" or "<locals>" in attribute


def class_in(reference: str) -> str:
    """The name of the class in `module:Outer.Class`; empty for a key."""
    return reference.rpartition(":")[2].rpartition(".")[2] if ":" in reference else ""


def _attribute(kind: str, reference: str, module: ModuleType, suits: Callable[[object], bool]) -> object:
    location, _, attribute = reference.rpartition(":")
    if not hasattr(module, attribute):
        raise UnknownNameError(f"{kind} in {location}", attribute, _own_names(module, suits))
    found: object = getattr(module, attribute)
    for cls in inspect.getmro(found) if isinstance(found, type) else ():
        for warning in _kept.pop(cls, ()):
            _tell(warning)
    return found


def load_object(kind: str, reference: str) -> object:
    """Import `module:Name` from one of our tables."""
    location, _, attribute = reference.rpartition(":")
    return getattr(_load_module(kind, location), attribute)


def line_of(error: BaseException, path: Path) -> str:
    """The line of a file that raised an error, as the end of a clause; empty if the error was raised elsewhere."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f", in line {lines[-1]}" if lines else ""


def load_users_module(kind: str, location: str, reference: str) -> ModuleType:
    """Import the part before the colon of a user's reference: `package.module` or `path/to/file.py`.

    Raises:
        RedwoodError: If it cannot be found or imported, or must not be: see `redwood.core.imports`.
    """
    if not is_reference(reference):
        raise RedwoodError(f"The {kind} {reference} names nothing behind its colon; write file.py:Name.")
    if not may_import(location):
        raise RedwoodError(
            f"{reference} is code that a file names, and it is not run; look at it, then add --trust, or name it on "
            "the command line."
        )
    return _import(location, kind, reference)


def _import(location: str, kind: str, reference: str) -> ModuleType:
    try:
        return load_file(kind, Path(location)) if location.endswith(".py") else _load_module(kind, location)
    except RedwoodError:
        raise
    except (Exception, SystemExit) as error:
        if not isinstance(error, Exception) and type(error) is not SystemExit:  # a signal asks the process to end
            raise
        message = f": {str(error).rstrip('.')}" if str(error) else ""
        reason = f"{type(error).__name__}{message}{line_of(error, Path(location).resolve())}"
        raise RedwoodError(f"{reference} cannot be imported ({reason}).") from error


def _refuse_bare_file(kind: str, name: str, suits: Callable[[object], bool]) -> NoReturn:
    known = _own_names(load_users_module(kind, name, name), suits)
    example = f", as in {name}:{known[0]}" if known else ""
    also = f" Known: {', '.join(known)}." if len(known) > 1 else "" if known else f" There is no {kind} in it."
    raise RedwoodError(f"{name} is a file; add a colon and what in it is the {kind}{example}.{also}")


def _own_names(module: ModuleType, suits: Callable[[object], bool]) -> list[str]:
    """Public names of the suitable objects that a module defines itself."""
    own = [(name, value) for name, value in vars(module).items() if not name.startswith("_")]
    return sorted(n for n, v in own if getattr(v, "__module__", None) == module.__name__ and callable(v) and suits(v))


def _load_module(kind: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            file = Path(*name.split(".")).with_suffix(".py")
            remedy = f"the file {file} is here, so name it as {file}:Name" if file.is_file() else "install its package"
            raise RedwoodError(f"The {kind} module {name!r} cannot be found; {remedy}.") from error
        raise


def load_file(kind: str, path: Path) -> ModuleType:
    """Import a Python file by its path, once per process, so that its classes stay the same objects.

    The file can import the modules of its folder, as a script can, then and later: see `redwood.core.neighbours`.
    """
    path = path.resolve()
    if not path.is_file():
        raise RedwoodError(f"The {kind} file {path} does not exist.")
    name = module_name(path)
    if name not in sys.modules:
        loader = NeighbourLoader(name, str(path), path.parent)
        spec = importlib.util.spec_from_file_location(name, path, loader=loader)
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            with _class_warnings_kept():
                loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


@contextmanager
def _class_warnings_kept() -> Iterator[None]:
    """Keep the warnings about each class until the class is asked for; a file may have other classes."""
    told: list[warnings.WarningMessage] = []
    show = warnings.showwarning

    def keep(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if isinstance(message, ClassWarning) and warnings.showwarning is keep:
            told.append(warnings.WarningMessage(message, category, filename, lineno))
        else:
            show(message, category, filename, lineno, file, line)

    # Not by `catch_warnings`: it would undo the filters that a file sets for good.
    warnings.showwarning = keep
    loaded = False
    try:
        yield
        loaded = True
    finally:
        if warnings.showwarning is keep:
            warnings.showwarning = show
        for warning in told:
            if loaded and isinstance(warning.message, ClassWarning):
                _kept.setdefault(warning.message.cls, []).append(warning)
            else:
                _tell(warning)


def _tell(warning: warnings.WarningMessage) -> None:
    warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def reference_of(cls: type, known: Mapping[str, str]) -> str:
    """The key of a class in `known` (key -> `module:Name`), or the reference that loads it."""
    reference = f"{cls.__module__}:{cls.__qualname__}"
    for key, value in known.items():
        if value == reference:
            return key
    if cls.__module__.startswith(USER_FILE_PREFIX):
        return f"{sys.modules[cls.__module__].__file__}:{cls.__qualname__}"
    return reference
