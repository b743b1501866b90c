"""Redwood: a tree of continual-learning settings, and the methods that apply to them.

`redwood.run` and `redwood.compare` take the words of the command line. Importing this package imports no library.

    help(redwood.settings)                          the tree of settings, and what each of them adds
    redwood.settings.ClassIncrementalSetting.assumptions.promises()
                                                    what a setting assumes, as promises to a method
    dir(redwood.methods)                            the methods by class; python cli.py list has the names
    redwood.load("runs/x")                          the trained model of a run
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # type checkers and editors read these imports instead of `__getattr__`
    from redwood import methods, settings
    from redwood.core.errors import RedwoodError
    from redwood.engine.pair_results import PairResults
    from redwood.experiments.comparisons.comparison import Comparison
    from redwood.experiments.from_python import compare, resume, run
    from redwood.experiments.trained.model import TrainedModel, load
    from redwood.methods.base import Method
    from redwood.methods.lightning import LightningMethod
    from redwood.settings.base import Setting
    from redwood.settings.scores.results import Results

__all__ = [
    "Comparison",
    "LightningMethod",
    "Method",
    "PairResults",
    "RedwoodError",
    "Results",
    "Setting",
    "TrainedModel",
    "compare",
    "load",
    "methods",
    "resume",
    "run",
    "settings",
]

__version__ = "0.1.0"

_LAZY = {
    "Comparison": "redwood.experiments.comparisons.comparison",
    "LightningMethod": "redwood.methods.lightning",
    "Method": "redwood.methods.base",
    "PairResults": "redwood.engine.pair_results",
    "RedwoodError": "redwood.core.errors",
    "Results": "redwood.settings.scores.results",
    "Setting": "redwood.settings.base",
    "TrainedModel": "redwood.experiments.trained.model",
    "load": "redwood.experiments.trained.model",
    "compare": "redwood.experiments.from_python",
    "resume": "redwood.experiments.from_python",
    "run": "redwood.experiments.from_python",
}


class _UnknownName(AttributeError):
    """The package has no such name. Its text is made when it is read: `from redwood import engine` asks here, too."""

    def __str__(self) -> str:
        from redwood.core.peer_words import in_python, plain

        name = str(self.name)
        text = f"module {__name__!r} has no attribute {name!r}"
        for part in ("methods", "settings"):
            for known in import_module(f"redwood.{part}").__all__:
                if plain(name) in (plain(known), plain(known.removesuffix("Setting"))):
                    return f"{text}; write redwood.{part}.{known}"
        told = in_python(name)
        return f"{text}; {told}" if told else text


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name in _LAZY:
            return getattr(import_module(_LAZY[name]), name)
        if name in __all__:
            return import_module(f"redwood.{name}")
        raise _UnknownName(name=name)


def __dir__() -> list[str]:
    return [*__all__, "__version__", "__doc__"]
