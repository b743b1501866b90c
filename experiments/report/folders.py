"""The folders that a report is asked for: `--report FOLDER...`."""

import csv
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from redwood.core.errors import DataError, RedwoodError
from redwood.experiments.arguments import OneSentenceParser, UsageError
from redwood.experiments.plan import ComparisonPlan, is_comparison
from redwood.experiments.report.page import GENERATOR, REPORT, write_report
from redwood.experiments.report.source import CONFIG, RESULTS, Source, command, read_run, source_of_run

TABLE = "comparison.csv"


def report(folders: Sequence[str], arguments: Sequence[str], console: Console) -> None:
    """Write one page on the runs, comparisons and sweeps in some folders, and print where it is.

    It is written to the folder, or to the current one if there are several; `--out FILE` names another file.

    Args:
        folders: The folders; one that is given twice counts once.
        arguments: Further options of the command line.
        console: Where to print.

    Raises:
        UsageError: If there are other options than `--out`, or the file is none that may be overwritten.
        RedwoodError: If a folder holds nothing of the kind, or the file cannot be written.
    """
    parser = OneSentenceParser(prog="cli.py", add_help=False, allow_abbrev=False)
    parser.add_argument("--out", type=Path)
    chosen, others = parser.parse_known_args(arguments)
    if others:
        raise UsageError(f"--report goes with --out FILE at most; leave {others[0]} out.")
    distinct = list({path.resolve(): path for path in map(Path, folders)}.values())
    path = chosen.out or (distinct[0] / REPORT if len(distinct) == 1 else Path(REPORT))
    _refuse_other_file(path)
    for note in write_report([read_source(folder) for folder in distinct], path):
        console.print(Text(note), soft_wrap=True)
    console.print(Text(f"written to {path}"), soft_wrap=True)


def read_source(folder: Path) -> Source:
    """Read the run, the comparison or the sweep in a folder.

    Raises:
        RedwoodError: If there is none, or a single run is not finished.
        DataError: If the results of a single run are damaged.
    """
    if is_comparison(folder):
        return source_of_comparison(folder)
    if (folder / RESULTS).is_file():
        return source_of_run(folder)
    if (folder / CONFIG).is_file():
        raise RedwoodError(f"--report {folder}: this run has no {RESULTS} yet; finish it by --resume {folder}.")
    raise RedwoodError(
        f"--report {folder}: there is no run, comparison or sweep in this folder; give the folder of one."
    )


def source_of_comparison(folder: Path) -> Source:
    """Read the comparison in a folder, finished or not. A run whose results are damaged is left out, with a note.

    Raises:
        RedwoodError: If its plan cannot be read.
    """
    plan = ComparisonPlan.load(folder)
    runs, notes = [], []
    for path in sorted(folder.glob(f"*/{RESULTS}")):
        try:
            runs.append(read_run(path.parent))
        except DataError as error:
            notes.append(f"A run is left out: {error}")
    planned = [(pair.setting, pair.method) for pair in plan.pairs]
    failures, in_table = _read_table(folder / TABLE)
    done = {(run.results.setting, run.results.method) for run in runs}
    # The table leaves out pairs that the data does not suit; without a table, all that was planned may still come.
    shown = [pair for pair in planned if pair in done or pair in in_table or not in_table]
    return Source(folder, "comparison", _command_of(plan), runs, shown, failures, notes)


def _read_table(path: Path) -> tuple[dict[tuple[str, str], str], set[tuple[str, str]]]:
    """The failures in the table of a comparison, and all of its pairs; nothing if there is no such file yet."""
    if not path.is_file():
        return {}, set()
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    pairs = {(line["setting"], line["method"]): line["failure"] for line in lines}
    return {pair: " ".join(failure.split()) for pair, failure in pairs.items() if failure}, set(pairs)


def _command_of(plan: ComparisonPlan) -> str:
    settings = dict.fromkeys(pair.setting for pair in plan.pairs)
    methods = dict.fromkeys(pair.method for pair in plan.pairs)
    seeds = ["--seeds", str(plan.n_seeds)] if plan.n_seeds > 1 else []
    return command(["--setting", ",".join(settings), "--method", ",".join(methods), *plan.arguments, *seeds])


def _refuse_other_file(path: Path) -> None:
    """Raise `UsageError` if the page would replace a file that is no report."""
    if path.is_dir():
        raise UsageError(f"--out {path} is a folder; name a file, {path / REPORT}.")
    if path.exists() and GENERATOR not in path.read_bytes()[:1000]:
        raise UsageError(f"{path} is no report of redwood's, and would be lost; name another file by --out.")
