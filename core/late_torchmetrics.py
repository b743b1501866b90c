"""Import most of torchmetrics only when it is used: Lightning needs two of its classes, and the rest takes seconds.

`import torchmetrics` imports all metrics of images, texts and sounds, with torchvision, transformers and SciPy. That is
more than half of `import pytorch_lightning`. After `defer_torchmetrics`, the package holds the names that Lightning
needs. It imports the rest when any other name is looked up. PEP 562 in torchmetrics itself would do the same.
"""

import importlib
import logging
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

from typing_extensions import override

_PACKAGE = "torchmetrics"
_TESTED = ("1.7", "1.8", "1.9")  # any other version is imported as it is


def defer_torchmetrics() -> None:
    """Import most of torchmetrics only on use, unless it is imported already or its version is unknown."""
    if _PACKAGE in sys.modules or any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    with suppress(PackageNotFoundError):
        if version(_PACKAGE).startswith(tuple(f"{tested}." for tested in _TESTED)):
            sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    @override
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _PACKAGE:
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec is not None and spec.loader is not None:
            spec.loader = _LateLoader(spec.loader)
        return spec


class _LateLoader(Loader):
    """Fills the package with the names that Lightning needs; anything unexpected ends in the plain import."""

    def __init__(self, whole: Loader) -> None:
        self._whole = whole

    @override
    def exec_module(self, module: ModuleType) -> None:
        module._logger = logging.getLogger(_PACKAGE)  # type: ignore[attr-defined]  # its modules import this name
        try:
            # The first one first: it and `metric` import each other.
            _, metric, collections, about = (
                importlib.import_module(f"{_PACKAGE}.{name}")
                for name in ("utilities", "metric", "collections", "__about__")
            )
            vars(module).update({name: getattr(about, name) for name in about.__all__})
            vars(module).update(Metric=metric.Metric, MetricCollection=collections.MetricCollection)
        except Exception:
            for name in [name for name in sys.modules if name.startswith(f"{_PACKAGE}.")]:
                del sys.modules[name]
            self._whole.exec_module(module)
        else:
            module.__class__ = _LatePackage

    def load_whole(self, module: ModuleType) -> None:
        """Run the plain import."""
        self._whole.exec_module(module)


class _LatePackage(ModuleType):
    """The package until another name of it is looked up."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__all__":  # debuggers and warnings look for these in all modules
            raise AttributeError(name)
        _complete(self)
        return getattr(self, name)

    def __dir__(self) -> list[str]:
        _complete(self)
        return dir(self)


def _complete(package: ModuleType) -> None:
    package.__class__ = ModuleType  # first: while it is imported, the package looks up names of itself
    spec = package.__spec__
    assert spec is not None and isinstance(spec.loader, _LateLoader)
    spec.loader.load_whole(package)
