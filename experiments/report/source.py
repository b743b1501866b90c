"""The sources of a report: finished runs in a folder, failures, and the command that repeats the runs."""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from redwood.core.errors import RedwoodError
from redwood.core.parts import flat
from redwood.engine.run import Run
from redwood.experiments.command_line.arguments import invocation
from redwood.experiments.command_line.config_file import as_arguments
from redwood.experiments.command_line.pairs import Pair
from redwood.experiments.report.tables import Table
from redwood.settings.config import describe_options, is_marked
from redwood.settings.scores.results import Results

RESULTS, CONFIG = "results.json", "config.yaml"
_PAIR = ("setting", "method")


@dataclass(frozen=True)
class FinishedRun:
    """The results of a finished run, and its folder."""

    results: Results
    folder: Path


@dataclass(frozen=True)
class Source:
    """One folder of a report.

    Attributes:
        folder: The folder.
        kind: "run", "comparison" or "sweep".
        command: The command that repeats it.
        runs: Its finished runs.
        pairs: The setting and the method of all that was planned, by their names in results.
        failures: Why runs of a setting and a method failed; one without results and reason is not finished.
        missing: Runs of a setting and a method that were planned and have not ended yet.
        bounds: The setting that an upper bound ran under, where `pairs` has the setting beside whose methods it stands.
        notes: Sentences on what could not be read.
        lead: A text on a sweep.
        tables: The tables of a sweep.
    """

    folder: Path
    kind: str
    command: str
    runs: list[FinishedRun]
    pairs: list[tuple[str, str]]
    failures: dict[tuple[str, str], str] = field(default_factory=dict)
    missing: dict[tuple[str, str], int] = field(default_factory=dict)
    bounds: dict[tuple[str, str], str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    lead: str = ""
    tables: Sequence[Table] = ()

    @property
    def runs_folder(self) -> Path:
        """The folder of the comparison; of a sweep, that of the best configuration."""
        return self.folder / "best" if self.kind == "sweep" else self.folder


def source_of_run(folder: Path) -> Source:
    """Read the run in a folder.

    Raises:
        DataError: If its results are missing or damaged.
    """
    run = read_run(folder)
    return Source(folder, "run", _command_of_run(run.results), [run], [(run.results.setting, run.results.method)])


def read_run(folder: Path) -> FinishedRun:
    """Read a finished run.

    Raises:
        DataError: If its results are missing or damaged.
    """
    return FinishedRun(Results.load(folder / RESULTS), folder)


def command(words: Iterable[str]) -> str:
    """A command line of words, as a shell takes it, without the folder that it wrote to: a repeated run needs another.

    Args:
        words: The options and their values.
    """
    kept: list[str] = []
    skip = False
    for word in words:
        if not skip and word.partition("=")[0] != "--run_dir":
            kept.append(word)
        skip = word == "--run_dir"
    return f"{invocation()} {shlex.join(kept)}"


def _command_of_run(results: Results) -> str:
    """The command with all options of a run that are not the defaults, as far as these are known without its code.

    It is empty where objects from Python were among the options.
    """
    config = {name: value for name, value in results.options.items() if name not in (*_PAIR, "extends")}
    if any(map(is_marked, config.values())):
        return ""
    defaults = _defaults(results.setting, results.method)
    if defaults:
        config = {name: value for name, value in config.items() if name in defaults and defaults[name] != value}
    options = {name: value for name, value in config.items() if not _is_record(value)}
    return command(["--setting", results.setting, "--method", results.method, *as_arguments(options)])


def _is_record(value: object) -> bool:
    """True if an entry of a configuration describes the stream, and is not an option."""
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(item, dict) for item in value))


def _defaults(setting: str, method: str) -> dict[str, object]:
    """Return the defaults of the options of a pair; none if they are known only by running the user's code."""
    if ":" in setting + method:
        return {}
    try:
        setting_class, method_class = Pair(setting, method).load()
        return flat(describe_options(Run()) | describe_options(method_class()) | describe_options(setting_class()))
    except RedwoodError:
        return {}
