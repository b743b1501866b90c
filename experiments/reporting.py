"""The folders that a report is asked for, and what it writes of them: `report DIR...`."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.text import Text

from redwood.core.calls import resume_call
from redwood.core.errors import RedwoodError
from redwood.core.files import refuse_foreign
from redwood.engine.figures.comparison import draw_comparisons
from redwood.engine.figures.plots import draw_run
from redwood.engine.pair_results import marked_bounds
from redwood.experiments.comparisons.page import source_of_comparison
from redwood.experiments.launchers.plan import is_comparison, is_finished_sweep
from redwood.experiments.report.content import tested_alone
from redwood.experiments.report.entries import entries_of
from redwood.experiments.report.page import OWN, REPORT, write_report
from redwood.experiments.report.paper_tables import TABLES
from redwood.experiments.report.source import CONFIG, RESULTS, Source, source_of_run
from redwood.experiments.report.wanted_table import read_table
from redwood.experiments.sweeps.page import source_of_sweep

PAGES = {".html", ".htm"}  # the ends of names of pages; another path is a folder


def report(
    folders: Sequence[Path], out: Path | None, console: Console, *, table: str | None = None, figures: str | None = None
) -> None:
    """Write one page on the runs, comparisons and sweeps in some folders, and print each file that is written.

    Args:
        folders: The folders; one that is given twice counts once.
        out: The page, or a folder for it; None: in the folder, or in the current one if there are several.
        console: Where to print.
        table: Which table is printed, and written beside the page; see `read_table`.
        figures: The format of figures that are written beside the page, such as `pdf`; None: no figures.

    Raises:
        RedwoodError: If a folder holds nothing of the kind, or a file cannot be written or is not of this command.
    """
    distinct = list({path.resolve(): path for path in folders}.values())
    path = out or (distinct[0] if len(distinct) == 1 else Path())
    path = path if path.suffix in PAGES and not path.is_dir() else path / REPORT
    refuse_foreign(path, *OWN)
    suffixes = [*([f".{figures}"] if figures else []), *(form.suffix for form in TABLES.values() if table)]
    if not path.exists() and path.parent not in distinct:
        _refuse_others(path.parent, suffixes)
    sources = [read_source(folder) for folder in distinct]
    if (table or figures) and not any(source.runs for source in sources):
        raise RedwoodError(f"No run in {distinct[0]} has results yet; finish it by {resume_call(distinct[0])} first.")
    for note in write_report(sources, path):
        console.print(Text(note), soft_wrap=True)
    written, wanted = [path], read_table(table)
    if wanted is not None:
        pairs = marked_bounds(entry.results for entry in entries_of(sources)[0])
        console.out(wanted.write(pairs, path.parent), highlight=False)
        written.append(path.parent / wanted.file_name)
    if figures is not None:
        written += _draw(sources, path.parent, f".{figures}")
    for file in written:
        console.print(Text(f"written to {file}"), soft_wrap=True)


def _refuse_others(folder: Path, suffixes: Sequence[str]) -> None:
    """Raise `RedwoodError` for tables and figures in a folder without a page: they may be of someone else."""
    for suffix in suffixes:
        for file in sorted(folder.glob(f"comparison*{suffix}")):
            raise RedwoodError(f"{file} may not be of this command, and would be lost; give --out in another folder.")


def _draw(sources: Sequence[Source], folder: Path, suffix: str) -> list[Path]:
    """Draw the figures of a run, or else those that compare all runs; return their files."""
    runs = [run.results for source in sources for run in source.runs if run.results.tested]
    if not runs:
        raise RedwoodError("--figures has nothing to draw: no run has scores; leave it out.")
    with TemporaryDirectory(dir=folder) as name:
        drawn = Path(name)
        if len(runs) == 1:
            draw_run(runs[0], drawn, suffix)
        else:
            pairs = marked_bounds(entry.results for entry in entries_of(sources)[0])
            draw_comparisons(tested_alone(pairs), drawn, suffix)
        return [file.replace(folder / file.name) for file in sorted(drawn.iterdir())]


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
