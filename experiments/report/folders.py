"""The folders that a report is asked for: `--report FOLDER...`."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from redwood.core.errors import RedwoodError
from redwood.core.files import refuse_foreign
from redwood.experiments.arguments import OneSentenceParser, UsageError, program
from redwood.experiments.plan import is_comparison
from redwood.experiments.report.comparison import source_of_comparison
from redwood.experiments.report.page import OWN, REPORT, write_report
from redwood.experiments.report.source import CONFIG, RESULTS, Source, source_of_run
from redwood.experiments.report.sweeps import is_finished_sweep, source_of_sweep


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
    parser = OneSentenceParser(
        prog=f"{program()} --report", description="One page on finished runs, comparisons and sweeps.", add_help=False
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help=f"the page (default: {REPORT} in the folder)")
    if "--help" in arguments:
        print(parser.format_help())
        return
    chosen, others = parser.parse_known_args(arguments)
    if others:
        raise UsageError(f"--report goes with --out FILE at most; leave {others[0]} out.")
    distinct = list({path.resolve(): path for path in map(Path, folders)}.values())
    path = chosen.out or (distinct[0] / REPORT if len(distinct) == 1 else Path(REPORT))
    refuse_foreign(path, *OWN)
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
    if is_finished_sweep(folder):
        return source_of_sweep(folder)
    if (folder / RESULTS).is_file():
        return source_of_run(folder)
    if (folder / "sweep.yaml").is_file():
        raise RedwoodError(f"--report {folder}: this sweep is not over yet; finish it by --resume {folder}.")
    if (folder / CONFIG).is_file():
        raise RedwoodError(f"--report {folder}: this run has no {RESULTS} yet; finish it by --resume {folder}.")
    raise RedwoodError(
        f"--report {folder}: there is no run, comparison or sweep in this folder; give the folder of one."
    )
