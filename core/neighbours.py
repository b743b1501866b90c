"""Let a user's file import the modules of its folder, as a script can: while it is loaded, and later in its functions.

Files of several folders may be loaded in one process, with neighbours of the same names. So each file, and each of its
neighbours, has an `__import__` of its own, which looks into its own folder. `sys.modules` holds the first neighbour of
a name. A later one gets a name as files that are loaded by their paths, so that pickles tell the two apart.
"""

import builtins
import importlib
import sys
import zlib
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from typing_extensions import override

# The name of a module that was loaded from a file of the user starts with this prefix.
USER_FILE_PREFIX = "redwood_user_"

# Folder -> the modules in it that a file there has imported, by their names.
_neighbours: dict[Path, dict[str, ModuleType]] = {}
# The files that were loaded by their paths; as neighbours they would be loaded twice.
_files: set[Path] = set()


def module_name(path: Path) -> str:
    """The name of the module of a file that is loaded by its path."""
    path = path.resolve()
    return f"{USER_FILE_PREFIX}{path.stem}_{zlib.crc32(str(path).encode()):08x}"


class NeighbourLoader(SourceFileLoader):
    """Executes a file, whose import statements find the modules of a folder."""

    def __init__(self, name: str, path: str, folder: Path) -> None:
        super().__init__(name, path)
        self._folder = folder

    @override
    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": _Importer(self._folder)}
        if _LAST not in sys.meta_path:
            sys.meta_path.append(_LAST)
        with _at_hand(self._folder):
            super().exec_module(module)
        if _is_beside(self.name, module, self._folder):
            _neighbours[self._folder][self.name] = module
            if any(_top(self.name) in own for folder, own in _neighbours.items() if folder != self._folder):
                _rename(module, module_name(Path(self.path)))
        else:
            _files.add(Path(self.path))


class _Importer:
    """The `__import__` of a folder's files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] = (),
        level: int = 0,
    ) -> ModuleType:
        """Import as `builtins.__import__` does."""
        arguments: Any = (name, globals, locals, fromlist, level)
        if level or (name in sys.modules and not self._is_of_another_folder(name)):
            return builtins.__import__(*arguments)
        with _at_hand(self._folder):
            return builtins.__import__(*arguments)

    def _is_of_another_folder(self, name: str) -> bool:
        others = (own for folder, own in _neighbours.items() if folder != self._folder)
        return any(sys.modules[name] is own.get(name) for own in others)


class _Finder(MetaPathFinder):
    """Finds the modules of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @override
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not any(place.exists() for place in _places(fullname, self._folder)):
            return None
        spec = PathFinder.find_spec(fullname, [str(self._folder)] if path is None else path, target)
        if path is None and spec is not None and spec.origin is None and _is_installed(fullname):
            return None  # a folder of data, such as `wandb/`
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = NeighbourLoader(spec.loader.name, spec.loader.path, self._folder)
        return spec


class _LastFinder(MetaPathFinder):
    """Finds the neighbours of all files for imports by name, as in pickles. Installed modules come first."""

    @override
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if path is not None:
            return None
        specs = (_Finder(folder).find_spec(fullname, None) for folder in list(_neighbours))
        return next((spec for spec in specs if spec and spec.origin and Path(spec.origin) not in _files), None)


_LAST = _LastFinder()


def neighbour_folders() -> list[str]:
    """The folders whose modules can be imported, for `sys.path` of another process that loads no file itself."""
    return [str(folder) for folder in _neighbours]


@contextmanager
def _at_hand(folder: Path) -> Iterator[None]:
    """Let imports find the modules of a folder, and hide those that files of other folders have imported."""
    hidden: dict[str, ModuleType] = {}
    for other, modules in _neighbours.items():
        if other != folder:
            hidden |= _put_away(modules)
    own = _neighbours.setdefault(folder, {})
    sys.modules.update(own)
    before = set(sys.modules)
    importlib.invalidate_caches()
    finder = _Finder(folder)
    sys.meta_path.insert(sys.meta_path.index(PathFinder), finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        new = {name: sys.modules[name] for name in sys.modules.keys() - before}
        own.update({name: module for name, module in new.items() if _is_beside(name, module, folder)})
        shared = {_top(name) for name in hidden}
        _put_away(own, shared)
        sys.modules.update(hidden)


def _put_away(modules: dict[str, ModuleType], among: Container[str] | None = None) -> dict[str, ModuleType]:
    """Take modules out of `sys.modules`, with all of their parts that have been imported by now, and return these."""
    present = {_top(name) for name, module in modules.items() if sys.modules.get(name) is module}
    chosen = {top for top in present if among is None or top in among}
    taken = {name: sys.modules.pop(name) for name in list(sys.modules) if _top(name) in chosen}
    modules.update(taken)
    return taken


def _rename(module: ModuleType, name: str) -> None:
    """Give a module, and all that it defines, another module name; not if the file was also loaded by its path."""
    if sys.modules.setdefault(name, module) is not module:
        return
    _name_module(list(vars(module).values()), module.__name__, name)
    if not hasattr(module, "__path__"):  # imports of the parts of a package read its name
        module.__name__ = name


def _name_module(values: list[object], old: str, new: str) -> None:
    for value in values:
        if isinstance(value, type | FunctionType) and value.__module__ == old:
            value.__module__ = new
            if isinstance(value, type):
                _name_module(list(vars(value).values()), old, new)


def _is_installed(name: str) -> bool:
    finders = [finder for finder in sys.meta_path if not isinstance(finder, _Finder | _LastFinder)]
    return any(finder.find_spec(name, None) is not None for finder in finders)


def _is_beside(name: str, module: ModuleType, folder: Path) -> bool:
    """True if a module, or a link to it, lies directly in a folder, not in a virtual environment inside it."""
    file = getattr(module, "__file__", None)
    if file is None:
        return False
    files = (Path(file), Path(file).resolve())
    return any(file.is_relative_to(place) for file in files for place in _places(name, folder))


def _top(name: str) -> str:
    return name.partition(".")[0]


def _places(name: str, folder: Path) -> tuple[Path, Path]:
    """The file and the package in a folder that may hold a module."""
    return folder / f"{_top(name)}.py", folder / _top(name)
