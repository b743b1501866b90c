"""What a report is made of: the finished runs in a folder, what failed there, and the command that repeats them."""

import csv
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from redwood.core.errors import DataError, RedwoodError
from redwood.experiments.config_file import as_arguments, load_config
from redwood.experiments.pairs import Pair
from redwood.experiments.plan import ComparisonPlan, is_comparison
from redwood.runs.run import Run
from redwood.settings.config import describe_options, is_marked
from redwood.settings.results import Results

RESULTS, CONFIG, TABLE = "results.json", "config.yaml", "comparison.csv"


@dataclass(frozen=True)
class FinishedRun:
    """A finished run.

    Attributes:
        results: Its results.
        began: When its folder was made, in seconds since 1970, by the times of its files.
        ended: When its results were written.
    """

    results: Results
    began: float
    ended: float


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
        notes: Sentences on what could not be read.
    """

    folder: Path
    kind: str
    command: str
    runs: list[FinishedRun]
    pairs: list[tuple[str, str]]
    failures: dict[tuple[str, str], str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_source(folder: Path) -> Source:
    """Read the run, the comparison or the sweep in a folder.

    Raises:
        RedwoodError: If there is none, or it is not finished.
        DataError: If the results of a single run are damaged.
    """
    if is_comparison(folder):
        return _read_comparison(folder)
    if (folder / RESULTS).is_file():
        run = _read_run(folder)
        pair = (run.results.setting, run.results.method)
        return Source(folder, "run", _command_of_run(run.results), [run], [pair])
    if (folder / CONFIG).is_file():
        raise RedwoodError(f"--report {folder}: this run has no {RESULTS} yet; finish it by --resume {folder}.")
    raise RedwoodError(f"--report {folder}: there is no run, comparison or sweep in this folder; give the folder of one.")


def _read_comparison(folder: Path) -> Source:
    plan = ComparisonPlan.load(folder)
    runs, notes = [], []
    for path in sorted(folder.glob(f"*/{RESULTS}")):
        try:
            runs.append(_read_run(path.parent))
        except DataError as error:
            notes.append(f"A run is left out: {error}")
    pairs = [(pair.setting, pair.method) for pair in plan.pairs]
    failures, in_table = _read_table(folder / TABLE)
    done = {(run.results.setting, run.results.method) for run in runs}
    # The table leaves out pairs that the data does not suit; without a table, all that was planned may still come.
    shown = [pair for pair in pairs if pair in done or pair in in_table or not in_table]
    return Source(folder, "comparison", _command_of_comparison(plan), runs, shown, failures, notes)


def _read_run(folder: Path) -> FinishedRun:
    results = Results.load(folder / RESULTS)
    ended = (folder / RESULTS).stat().st_mtime
    config = folder / CONFIG
    began = min(config.stat().st_mtime, ended) if config.is_file() else ended - results.cost.wall_time_s
    return FinishedRun(results, began, ended)


def _read_table(path: Path) -> tuple[dict[tuple[str, str], str], set[tuple[str, str]]]:
    """The failures in the table of a comparison, and all of its pairs; nothing if there is no such file yet."""
    if not path.is_file():
        return {}, set()
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    pairs = {(line["setting"], line["method"]): line["failure"] for line in lines}
    return {pair: " ".join(failure.split()) for pair, failure in pairs.items() if failure}, set(pairs)


def _command_of_comparison(plan: ComparisonPlan) -> str:
    settings, methods = (",".join(dict.fromkeys(getattr(pair, name) for pair in plan.pairs)) for name in _PAIR)
    words = ["--setting", settings, "--method", methods, *_without_folder(plan.arguments)]
    return _command([*words, *(["--seeds", str(plan.n_seeds)] if plan.n_seeds > 1 else [])])


_PAIR = ("setting", "method")


def _without_folder(arguments: Iterable[str]) -> list[str]:
    """Options without `--run_dir`: a run that is repeated needs a folder of its own."""
    kept: list[str] = []
    skip = False
    for argument in arguments:
        if not skip and argument.partition("=")[0] != "--run_dir":
            kept.append(argument)
        skip = argument == "--run_dir"
    return kept


def _command_of_run(results: Results) -> str:
    """The command with all options of a run that are not the defaults, as far as these are known without its code.

    It is empty where objects from Python were among the options.
    """
    config = {name: value for name, value in results.config.items() if name not in (*_PAIR, "extends")}
    if any(map(is_marked, config.values())):
        return ""
    defaults = _defaults(results.setting, results.method)
    if defaults:
        config = {name: value for name, value in config.items() if name in defaults and defaults[name] != value}
    options = {name: value for name, value in config.items() if not _is_record(value)}
    return _command(["--setting", results.setting, "--method", results.method, *as_arguments(options)])


def _is_record(value: object) -> bool:
    """Whether an entry of a configuration tells what the stream was, and is no option."""
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(item, dict) for item in value))


def _defaults(setting: str, method: str) -> dict[str, object]:
    """The defaults of the options of a pair; none of a pair whose code would have to be run to know them."""
    if ":" in setting + method:
        return {}
    try:
        setting_class, method_class = Pair(setting, method).load()
        return describe_options(Run()) | describe_options(method_class()) | describe_options(setting_class())
    except RedwoodError:
        return {}


def _command(words: list[str]) -> str:
    return f"python cli.py {shlex.join(words)}"
