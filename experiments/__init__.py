"""The command line: options, run directories, comparisons of many runs, and their tables.

Modules that a command needs once its own options are read are attributes of this package. They import libraries that
take seconds, so each one is imported when it is first used.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from redwood.engine import terminal as terminal
    from redwood.experiments import completion as completion
    from redwood.experiments import diff as diff
    from redwood.experiments import hooks_view as hooks_view
    from redwood.experiments import presets as presets
    from redwood.experiments import reporting as reporting
    from redwood.experiments import suites as suites
    from redwood.experiments import tree_view as tree_view
    from redwood.experiments.bench import run as bench_run  # noqa: F401
    from redwood.experiments.bench import suite as bench_suite  # noqa: F401
    from redwood.experiments.command_line import config_file as config_file
    from redwood.experiments.command_line import options as options
    from redwood.experiments.command_line import pairs as pairs
    from redwood.experiments.comparisons import compare as compare
    from redwood.experiments.launchers import choice as choice
    from redwood.experiments.launchers import plan as plan
    from redwood.experiments.runs import runner as runner
    from redwood.experiments.sweeps import plan as sweep_plan  # noqa: F401
    from redwood.experiments.sweeps import sweep as sweep
    from redwood.experiments.trained import export as export
    from redwood.experiments.trained import extend as extend
    from redwood.experiments.trained import predict as predict

_MODULES = {
    "bench_run": "redwood.experiments.bench.run",
    "bench_suite": "redwood.experiments.bench.suite",
    "choice": "redwood.experiments.launchers.choice",
    "compare": "redwood.experiments.comparisons.compare",
    "completion": "redwood.experiments.completion",
    "config_file": "redwood.experiments.command_line.config_file",
    "diff": "redwood.experiments.diff",
    "export": "redwood.experiments.trained.export",
    "extend": "redwood.experiments.trained.extend",
    "hooks_view": "redwood.experiments.hooks_view",
    "options": "redwood.experiments.command_line.options",
    "pairs": "redwood.experiments.command_line.pairs",
    "plan": "redwood.experiments.launchers.plan",
    "predict": "redwood.experiments.trained.predict",
    "presets": "redwood.experiments.presets",
    "reporting": "redwood.experiments.reporting",
    "runner": "redwood.experiments.runs.runner",
    "suites": "redwood.experiments.suites",
    "sweep": "redwood.experiments.sweeps.sweep",
    "sweep_plan": "redwood.experiments.sweeps.plan",
    "terminal": "redwood.engine.terminal",
    "tree_view": "redwood.experiments.tree_view",
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> ModuleType:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return import_module(_MODULES[name])
