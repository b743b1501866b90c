"""A user's file imports the modules of its folder, as a script can: as it is loaded, and in its functions later.

Files of several folders may be loaded in one process, with neighbours of the same names. So each file, and each of its
neighbours, has an `__import__` of its own, which looks into its own folder.
"""

import builtins
import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from typing_extensions import override

# Folder -> the modules in it that a file there has imported, by their names.
_neighbours: dict[Path, dict[str, ModuleType]] = {}
# The files that were loaded by their paths; as neighbours they would be loaded twice.
_files: set[Path] = set()


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
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = NeighbourLoader(spec.loader.name, spec.loader.path, self._folder)
        return spec


class _LastFinder(MetaPathFinder):
    """Finds the neighbours of all files, behind all that is installed: for what is imported by name, as pickles do."""

    @override
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if path is not None:
            return None
        specs = (_Finder(folder).find_spec(fullname, None) for folder in list(_neighbours))
        return next((spec for spec in specs if spec is not None and Path(spec.origin or "") not in _files), None)


_LAST = _LastFinder()


def neighbour_folders() -> list[str]:
    """The folders whose modules can be imported, for `sys.path` of another process that loads no file itself."""
    return [str(folder) for folder in _neighbours]


@contextmanager
def _at_hand(folder: Path) -> Iterator[None]:
    """Let imports find the modules of a folder, and put away those that files of other folders have imported."""
    for other, modules in _neighbours.items():
        if other != folder:
            _put_away(modules)
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


def _put_away(modules: dict[str, ModuleType]) -> None:
    """Take modules out of `sys.modules`, with all of their parts that have been imported by now."""
    present = {name.partition(".")[0] for name, module in modules.items() if sys.modules.get(name) is module}
    for name in [name for name in sys.modules if name.partition(".")[0] in present]:
        modules[name] = sys.modules.pop(name)


def _is_beside(name: str, module: ModuleType, folder: Path) -> bool:
    """Whether a module is of a folder, not of an environment in the folder."""
    file = getattr(module, "__file__", None)
    return file is not None and any(Path(file).resolve().is_relative_to(place) for place in _places(name, folder))


def _places(name: str, folder: Path) -> tuple[Path, Path]:
    """The file and the package in a folder that may hold a module."""
    top = name.partition(".")[0]
    return folder / f"{top}.py", folder / top
