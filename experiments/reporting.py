"""The folders that a report is asked for: `report DIR...`."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from redwood.core.calls import resume_call
from redwood.core.errors import RedwoodError
from redwood.core.files import refuse_foreign
from redwood.experiments.comparisons.page import source_of_comparison
from redwood.experiments.launchers.plan import is_comparison, is_finished_sweep
from redwood.experiments.report.page import OWN, REPORT, write_report
from redwood.experiments.report.source import CONFIG, RESULTS, Source, source_of_run
from redwood.experiments.sweeps.page import source_of_sweep


def report(folders: Sequence[Path], out: Path | None, console: Console) -> None:
    """Write one page on the runs, comparisons and sweeps in some folders, and print where it is.

    Args:
        folders: The folders; one that is given twice counts once.
        out: The page; None: in the folder, or in the current one if there are several.
        console: Where to print.

    Raises:
        RedwoodError: If a folder holds nothing of the kind, or the file cannot be written or is not of this command.
    """
    distinct = list({path.resolve(): path for path in folders}.values())
    path = out or (distinct[0] / REPORT if len(distinct) == 1 else Path(REPORT))
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
        raise RedwoodError(f"report {folder}: this sweep is not over yet; finish it by {resume_call(folder)}.")
    if (folder / CONFIG).is_file():
        raise RedwoodError(f"report {folder}: this run has no {RESULTS} yet; finish it by {resume_call(folder)}.")
    raise RedwoodError(f"report {folder}: there is no run, comparison or sweep in this folder; give the folder of one.")
