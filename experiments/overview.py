"""The table that a comparison ends in: a line per pair where these fit a page, else methods against settings."""

from collections.abc import Sequence

from rich.columns import Columns
from rich.console import Console
from rich.table import Table
from rich.text import Text

from redwood.experiments.tables import NOT_DEFINED, Row, print_comparison
from redwood.runs.figures.comparison import PARTLY, SOME_FAILED, methods_in_order
from redwood.runs.figures.drawing import wrapped
from redwood.settings.results import Results

FAILED = "\N{MULTIPLICATION SIGN}"
_MAX_LINES = 40


def print_table(rows: Sequence[Row], console: Console) -> None:
    """Print every metric of every pair, or the average accuracy alone if there are too many pairs for that.

    Args:
        rows: What was run; all of one measure.
        console: Where to print; its width decides how many settings stand side by side.
    """
    settings, methods = ({getattr(row, name) for row in rows} for name in ("setting", "method"))
    if len(rows) > _MAX_LINES and len(settings) > 1 and len(methods) > 1:
        _print_grid(rows, console)
    else:
        print_comparison(rows, console)


def outcome(results: Results) -> str:
    """The result of a run in few words, as in `average accuracy 45.3 %, 12.3 s`."""
    measure = results.measure
    value = f"{measure.show(results.objective)} {measure.unit}".rstrip()
    return f"average {measure.name} {value}, {results.cost.wall_time_s:.1f} s"


def _print_grid(rows: Sequence[Row], console: Console) -> None:
    settings = list(dict.fromkeys(row.setting for row in rows))
    methods = methods_in_order(rows)
    cells = {(row.setting, row.method): _cell(row) for row in rows}
    best = {setting: _best([row for row in rows if row.setting == setting]) for setting in settings}
    measured = next((row.results[0] for row in rows if row.results), None)
    if measured is not None:
        console.print(Text(f"average {measured.measure.label} of each method (line) under each setting (column)"))
    numbers = {setting: str(number) for number, setting in enumerate(settings, start=1)}
    console.print(Columns([Text(f"{numbers[setting]:>2} {setting}") for setting in settings], padding=(0, 2)))
    first = min(max(map(len, methods)), console.width // 2)
    width = max(len("00.0"), *(len(text) for text in cells.values()))
    per_block = max((console.width - first) // (width + 1), 1)
    for start in range(0, len(settings), per_block):
        block = settings[start : start + per_block]
        table = Table(box=None, padding=(0, 0, 0, 1), show_edge=False, pad_edge=False)
        table.add_column("", width=first, overflow="fold")
        for setting in block:
            table.add_column(numbers[setting], width=width, justify="right", no_wrap=True)
        for method in methods:
            table.add_row(
                Text(wrapped(method, first)),
                *(
                    Text(
                        cells.get((setting, method), NOT_DEFINED),
                        style="bold green" if method in best[setting] else "",
                    )
                    for setting in block
                ),
            )
        console.print()
        console.print(table)
    _print_footnotes(rows, console)


def _cell(row: Row) -> str:
    if not row.results:
        return FAILED
    mean = sum(run.objective for run in row.results) / len(row.results)
    return row.results[0].measure.show(mean) + (PARTLY if row.failure else "")


def _best(rows: Sequence[Row]) -> set[str]:
    """The methods that are best under a setting."""
    means = {row.method: sum(run.objective for run in row.results) / len(row.results) for row in rows if row.results}
    if not means:
        return set()
    lower = next(row.results[0].lower_is_better for row in rows if row.results)
    best = (min if lower else max)(means.values())
    return {method for method, mean in means.items() if mean == best}


def _print_footnotes(rows: Sequence[Row], console: Console) -> None:
    seeds = max(len(row.results) for row in rows)
    notes = [f"mean of {seeds} seeds"] if seeds > 1 else []
    notes.append(f"{NOT_DEFINED} does not apply")
    if any(row.failure and not row.results for row in rows):
        notes.append(f"{FAILED} failed")
    if any(row.failure and row.results for row in rows):
        notes.append(f"{PARTLY} {SOME_FAILED}")
    console.print()
    console.print(Text("; ".join(notes)))
    for row in rows:
        if row.failure:
            console.print(Text(f"{row.label} failed: {' '.join(row.failure.split())}"), soft_wrap=True)
    console.print()
