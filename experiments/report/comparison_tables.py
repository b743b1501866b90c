"""The results of a comparison as a table on the terminal, and as a file of comma-separated values.

The table has a line per pair where these fit a page, else a line per method and a column per setting.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.columns import Columns
from rich.console import Console
from rich.table import Table
from rich.text import Text

from redwood.core.files import write_atomically
from redwood.core.printable import cells
from redwood.engine.names import wrapped
from redwood.engine.pair_results import (
    INDEPENDENT,
    PARTLY,
    SOME_FAILED,
    Efficiency,
    PairResults,
    bound_notes,
    efficiency_of,
    methods_in_order,
    repeats_of,
    run_key,
    transfers_to_last,
)
from redwood.engine.significance import BEST, SIMILAR, Significance, significance_of
from redwood.engine.terminal import NOT_DEFINED, new_table, scaled
from redwood.experiments.report.tables import GAP, SIGNED, print_untested, show_value
from redwood.settings.scores.cost import USES, TuningCost
from redwood.settings.scores.measure import ACCURACY
from redwood.settings.scores.results import mean_and_std

FAILED = "\N{MULTIPLICATION SIGN}"
ON_FRONT = "\N{DAGGER}"
MARKS = {BEST: "\N{BLACK UP-POINTING TRIANGLE}", SIMILAR: "\N{WHITE UP-POINTING TRIANGLE}"}
_STYLES = {BEST: "bold green", SIMILAR: "green"}
_MAX_LINES = 40
# The costs in the file, and whether they differ from seed to seed.
COSTS = {
    "training_flops": False,
    "wall_time_s": True,
    "samples_per_s": True,
    "peak_memory_bytes": True,
    "buffer_bytes": False,
    "parameters": False,
}
_COLUMNS = ("incr.", "forget", "BWT", "FWT", "online")
# Columns that only some comparisons have: transfer to the last task, if there are independent models; compute; and
# the FLOPs of the sweep for the options.
_LAST, _COMPUTE, _TUNING = "last", "FLOPs", "tuning"
_LEAST = 6  # letters of a line of a method's name


def print_comparison(rows: Sequence[PairResults], console: Console) -> None:
    """Print every metric of every pair, or only the average accuracy if there are too many pairs.

    Args:
        rows: The pairs; all results are of one measure.
        console: Where to print; its width decides how many settings stand side by side.
    """
    settings, methods = ({getattr(row, name) for row in rows} for name in ("setting", "method"))
    if len(rows) > _MAX_LINES and len(settings) > 1 and len(methods) > 1:
        _print_grid(rows, console)
    else:
        _print_lines(rows, console)


def _print_grid(rows: Sequence[PairResults], console: Console) -> None:
    settings = list(dict.fromkeys(row.setting for row in rows))
    methods = methods_in_order(rows)
    found = significance_of(rows)
    marks = {(setting, method): mark for setting, one in found.items() for method, mark in one.marks.items()}
    cells = {
        (row.setting, row.method): _grid_cell(row) + MARKS.get(marks.get((row.setting, row.method), ""), " ")
        for row in rows
    }
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
                        cells.get((setting, method), f"{NOT_DEFINED} "),
                        style=_STYLES.get(marks.get((setting, method), ""), ""),
                    )
                    for setting in block
                ),
            )
        console.print()
        console.print(table)
    _print_footnotes(rows, found.values(), console)


def _grid_cell(row: PairResults) -> str:
    if not row.results:
        return FAILED
    return row.results[0].measure.show(row.objective) + (PARTLY if row.failure else "")


def _print_footnotes(rows: Sequence[PairResults], found: Iterable[Significance], console: Console) -> None:
    notes = []
    if max(len(row.results) for row in rows) > 1:
        notes.append(f"mean of {repeats_of(run for row in rows for run in row.results)}")
    notes.append(f"{NOT_DEFINED} does not apply")
    if any(row.failure and not row.results for row in rows):
        notes.append(f"{FAILED} failed")
    if any(row.failure and row.results for row in rows):
        notes.append(f"{PARTLY} {SOME_FAILED}")
    console.print()
    console.print(Text("; ".join(notes)))
    for note in dict.fromkeys([*(significance_note(one) for one in found), *bound_notes(rows)]):
        if note:
            console.print(Text(note), soft_wrap=True)
    for row in rows:
        if row.failure:
            console.print(Text(f"{row.label} failed: {' '.join(row.failure.split())}"), soft_wrap=True)
    console.print()


def _print_lines(rows: Sequence[PairResults], console: Console) -> None:
    """Print one line per pair, grouped by setting; metrics are means over seeds, accuracies in percent.

    If all rows are of one method, one table has a line per setting. A failure whose reason is too long for the status
    column is repeated in full below the table.
    """
    one_method = len({row.method for row in rows}) == 1 < len({row.setting for row in rows})
    traded = {} if one_method or not _has_flops(rows) else _traded(rows)
    found = {} if one_method else significance_of(rows)
    cells = [
        _comparison_cells(
            row, row.setting if one_method else row.method, rows, traded.get(row.setting), found.get(row.setting)
        )
        for row in rows
    ]
    measure = next((run.measure for row in rows for run in row.results), ACCURACY)
    further = [_LAST] * _has_independent(rows), [_COMPUTE] * _has_flops(rows) + [_TUNING] * _has_tuning(rows)
    columns = ("", measure.name, *further[0], *_COLUMNS, *further[1], "time", "runs" if _has_orders(rows) else "seeds")
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    status = list(map(_status, rows))
    left = console.width - sum(widths[1:]) - len(widths)  # for the method and the status
    widths[0] = max(min(widths[0], left - len("failed")), _LEAST)
    room = max(left - widths[0], len("failed"))
    cut = [text if len(text) <= room else _cut(text, room) for text in status]
    groups = [row.method if one_method else row.setting for row in rows]
    for group in dict.fromkeys(groups):
        table = new_table(group, padding=0)
        table.add_column("", width=widths[0], overflow="fold")
        for name, width in zip(columns[1:], widths[1:], strict=True):
            table.add_column(name, width=width, justify="right", no_wrap=True)
        table.add_column("status", no_wrap=True)
        for belongs_to, line, state in zip(groups, cells, cut, strict=True):
            if belongs_to == group:
                table.add_row(*map(Text, (wrapped(line[0], widths[0]), *line[1:], state)))
        console.print(table)
        if group in found and (note := significance_note(found[group])):
            console.print(Text(note), soft_wrap=True)
        if group in traded:
            tuned = ", those of tuning included" if _has_tuning(rows) else ""
            console.print(Text(f"{ON_FRONT} on the Pareto front of {measure.name} and FLOPs{tuned}"))
        for note in bound_notes(row for row, belongs_to in zip(rows, groups, strict=True) if belongs_to == group):
            console.print(Text(note), soft_wrap=True)
        console.print()
    _print_below(rows, status, cut, console)


def _print_below(rows: Sequence[PairResults], status: Sequence[str], cut: Sequence[str], console: Console) -> None:
    """Explain the deviations, say which runs were not tested, and repeat each status that was cut."""
    runs = [run for row in rows for run in row.results]
    if any(len(row.results) > 1 for row in rows):
        console.print(Text(f"± standard deviation over {repeats_of(runs)}"), soft_wrap=True)
    print_untested(runs, console)
    for row, whole, part in zip(rows, status, cut, strict=True):
        if part != whole:
            console.print(Text(f"{row.label} {whole}"), soft_wrap=True)


def _traded(rows: Sequence[PairResults]) -> dict[str, Efficiency]:
    """The trade-off of error and compute under each setting that several methods have results of."""
    settings = [row.setting for row in rows if row.results and row.ran_under is None]
    return {setting: found for setting, found in efficiency_of(rows).items() if settings.count(setting) > 1}


def significance_note(found: Significance) -> str:
    """Explain the marks of the methods under a setting, and the limits of the runs; empty for one method."""
    if not found.differences:
        return ""
    shown = [f"{MARKS[mark]} {mark}" for mark in MARKS if mark in found.marks.values()]
    return "; ".join([*shown, *([found.note] if found.note else [])])


def _has_orders(rows: Sequence[PairResults]) -> bool:
    return any(run_key(run)[1] is not None for row in rows for run in row.results)


def _has_independent(rows: Sequence[PairResults]) -> bool:
    return any(row.method == INDEPENDENT and row.results for row in rows)


def _has_flops(rows: Sequence[PairResults]) -> bool:
    return any(row.results and row.total_flops > 0 for row in rows)


def _has_tuning(rows: Sequence[PairResults]) -> bool:
    return any(row.tuning is not None for row in rows)


def _comparison_cells(
    row: PairResults,
    name: str,
    rows: Sequence[PairResults],
    efficiency: Efficiency | None,
    significance: Significance | None,
) -> list[str]:
    compares, counts = _has_independent(rows), _has_flops(rows)
    if not row.results:
        return [name, *[NOT_DEFINED] * (len(ACCURACY.metrics) + compares + counts + _has_tuning(rows) + 1), "0"]
    cells, measure = [name], row.results[0].measure
    statistics = mean_and_std(row.results)
    for metric in measure.metrics[: len(ACCURACY.metrics)]:
        statistic = statistics[metric]
        text = show_value(measure, statistic and statistic[0], signed=metric in SIGNED)
        if metric == measure.metrics[0] and statistic is not None and len(row.results) > 1:
            text += f" ± {measure.show(statistic[1])}"
        if metric == measure.metrics[0] and significance is not None and significance.differences:
            text += MARKS.get(significance.marks[row.method], " ")
        cells.append(text)
    if compares:
        gains = transfers_to_last(row, rows)
        cells.insert(2, show_value(measure, float(np.mean(gains)) if gains else None, signed=True))
    seconds = sum(run.cost.wall_time_s for run in row.results) / len(row.results)
    if counts:
        mark = ON_FRONT if efficiency is not None and row.method in efficiency.front else ""
        cells.append(scaled(row.total_flops, "", significant=2).replace(" ", "") + mark)
    if _has_tuning(rows):
        spent = None if row.tuning is None else scaled(row.tuning["flops"], "", significant=2).replace(" ", "")
        cells.append(spent or NOT_DEFINED)
    return [*cells, _clock(seconds), str(len(row.results))]


def _status(row: PairResults) -> str:
    if row.failure is not None:
        return f"failed: {' '.join(row.failure.split())}"
    return "ok" if row.results else "not run yet"


def _cut(text: str, width: int) -> str:
    return text[:width] if width <= len("failed: ") else text[: width - 1].rstrip() + GAP


def _clock(seconds: float) -> str:
    """Write a duration in few characters: `12.3 s`, `12:34` or `1:23:45`."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def write_comparison(rows: Sequence[PairResults], path: Path) -> None:
    """Write one line per pair, its `values_of`, and why runs failed. A metric that is undefined is left empty.

    Of costs that no clock or operating system measures, only
    the mean is written. `pareto` is 1 for the methods on the front of their setting, whose `hypervolume` stands in all
    lines of the setting. `transfer_to_last` is there if the method `independent` is among the pairs. The interval of
    the mean objective is `objective_low` to `objective_high`. `p_to_best` is the p-value of the difference to the best
    method after Holm's correction, and `significance` says what follows from it. `tuning_...` is what a
    sweep has cost that has chosen the options of a pair. `ran_under` is there if a pair is an upper bound: the setting
    that it ran under.
    """
    known = dict.fromkeys(name for row in rows for run in row.results for name in run.metrics) or ACCURACY.metrics
    columns = [f"{name}{suffix}" for name in known for suffix in ("", "_std")]
    columns += ["transfer_to_last", "transfer_to_last_std"] if _has_independent(rows) else []
    columns += [f"{name}{suffix}" for name, varies in COSTS.items() for suffix in (("", "_std") if varies else ("",))]
    columns += [*(f"flops_{use}" for use in (*USES, "total")), "pareto", "hypervolume"]
    columns += [f"tuning_{name}" for name in TuningCost._fields] if _has_tuning(rows) else []
    columns += ["objective_low", "objective_high", "p_to_best", "significance"]
    text = io.StringIO(newline="")
    has_bounds = any(row.ran_under is not None for row in rows)
    names = ["setting", "method", *["ran_under"] * has_bounds]
    writer = csv.DictWriter(text, [*names, "seeds", "class_orders", *columns, "failure"])
    writer.writeheader()
    for row, found in zip(rows, values_of(rows), strict=True):
        values = {"setting": row.setting, "method": row.method, "failure": row.failure or ""} | found
        values |= {"ran_under": row.ran_under or ""} if has_bounds else {}
        writer.writerow(dict(zip(values, cells(values.values()), strict=True)))
    write_atomically(path, text.getvalue().encode())


def values_of(rows: Sequence[PairResults]) -> list[dict[str, float | str]]:
    """The seeds of each pair, mean and standard deviation of its metrics and costs, and its place among the others."""
    efficiency, significance = efficiency_of(rows), significance_of(rows)
    found: list[dict[str, float | str]] = []
    for row in rows:
        values: dict[str, float | str] = {**_counts(row), **dict(_values(row))}
        if row.results:
            values |= dict(_trade_off_values(row, rows, efficiency[row.setting]))
            values |= _significance_values(row.method, significance[row.setting])
        found.append(values)
    return found


def _counts(row: PairResults) -> dict[str, int | str]:
    """The seeds and the class orders of the runs; no class orders where each run drew one from its seed."""
    keys = [run_key(run) for run in row.results]
    orders = {order for _, order in keys} - {None}
    return {"seeds": len({seed for seed, _ in keys}), "class_orders": len(orders) or ""}


def _significance_values(method: str, found: Significance) -> dict[str, float | str]:
    values: dict[str, float | str] = {"significance": found.marks[method]}
    interval, p_value = found.intervals[method], found.p_to_best(method)
    if interval is not None:
        values |= {"objective_low": interval[0], "objective_high": interval[1]}
    return values if p_value is None else values | {"p_to_best": p_value}


def _values(row: PairResults) -> Iterator[tuple[str, float]]:
    if not row.results:
        return
    for name, statistic in mean_and_std(row.results).items():
        if statistic is not None:
            yield name, statistic[0]
            yield f"{name}_std", statistic[1]
    for name, amount in (row.tuning or {}).items():
        yield f"tuning_{name}", amount
    for name, varies in COSTS.items():
        values = [getattr(run.cost, name) for run in row.results]
        yield name, float(np.mean(values))
        if varies:
            yield f"{name}_std", float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def _trade_off_values(
    row: PairResults, rows: Sequence[PairResults], efficiency: Efficiency
) -> Iterator[tuple[str, float | str]]:
    """FLOPs by use, the place among the methods of the setting, and the transfer to the last task; there are runs."""
    for use in USES:
        yield f"flops_{use}", float(np.mean([run.cost.flops_by_use[use] for run in row.results]))
    yield "flops_total", row.total_flops
    yield "pareto", int(row.method in efficiency.front)
    yield "hypervolume", "" if efficiency.hypervolume is None else efficiency.hypervolume
    gains = transfers_to_last(row, rows)
    if gains:
        yield "transfer_to_last", float(np.mean(gains))
        yield "transfer_to_last_std", float(np.std(gains, ddof=1)) if len(gains) > 1 else 0.0
