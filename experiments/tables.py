"""Results as tables, for a terminal or a log file."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from redwood.core.files import write_atomically
from redwood.runs.figures.drawing import wrapped
from redwood.settings.results import Cost, Results, mean_and_std
from redwood.settings.scores.measure import ACCURACY, RETURN, Measure

NOT_DEFINED = "\N{EN DASH}"
_GAP = "…"
_MAX_ROWS = 24
_CELL = len("100.0")
_SIGNED = {"backward_transfer", "forward_transfer"}
_COLUMNS = ("incr.", "forget", "BWT", "FWT", "online", "time", "seeds")


@dataclass(frozen=True)
class Row:
    """One pair of a comparison.

    Attributes:
        setting: Key of the setting.
        method: Key of the method.
        results: Finished runs, one per seed.
        failure: Why a run failed, in one sentence; None if all went well.
    """

    setting: str
    method: str
    results: Sequence[Results] = field(default_factory=list)
    failure: str | None = None

    @property
    def label(self) -> str:
        """The pair's name, as in `class_incremental / rehearsal`."""
        return f"{self.setting} / {self.method}"


def print_results(results: Results, console: Console) -> None:
    """Print the accuracy matrix, the metrics and the cost of one run.

    Args:
        results: A run, finished or not.
        console: Where to print; its width decides how many tasks are shown.
    """
    names = (results.setting, results.method, results.dataset, f"seed {results.seed}")
    console.print(Text(" · ".join(name for name in names if name), style="bold"))
    if results.accuracy_matrix:
        _print_matrix(results, console)
    unit = f" ({results.measure.unit})" if results.measure.unit else ""
    for title, lines in (
        (f"metrics{unit}", _metric_lines(results)),
        ("cost", _cost_lines(results.cost, results.measure.samples)),
    ):
        table = _new_table(title, padding=1, show_header=False)
        table.add_column()
        table.add_column(justify="right")
        for line in lines:
            table.add_row(*line)
        console.print(table)
        console.print()
    print_untested([results], console)


def print_untested(runs: Iterable[Results], console: Console) -> None:
    """Say what is not known of runs that left tasks untested, if any did."""
    untested = [run for run in runs if not run.all_tested]
    if not untested:
        return
    note = f"{NOT_DEFINED} was not measured: --eval_tasks seen tests a task from the phase on that trains it."
    if any(run.measure is not RETURN for run in untested):
        note += " Forward transfer needs --eval_tasks all."
    console.print(Text(note), soft_wrap=True)
    console.print()


def print_comparison(rows: Sequence[Row], console: Console) -> None:
    """Print one line per pair of setting and method, grouped by setting; metrics are means over seeds.

    Accuracies are in percent.

    If all rows are of one method, they are its settings' in one table instead.

    A failure whose reason is too long for the status column is told in full below the table.

    Args:
        rows: What was run.
        console: Where to print.
    """
    one_method = len({row.method for row in rows}) == 1 < len({row.setting for row in rows})
    cells = [_comparison_cells(row, row.setting if one_method else row.method) for row in rows]
    measure = next((run.measure for row in rows for run in row.results), ACCURACY)
    columns = ("", measure.name, *_COLUMNS)
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    status = ["ok" if row.failure is None else f"failed: {' '.join(row.failure.split())}" for row in rows]
    left = console.width - sum(widths[1:]) - len(widths)  # for the method and the status
    widths[0] = max(min(widths[0], left - len("failed")), len("rehearsal"))
    room = max(left - widths[0], len("failed"))
    cut = [text if len(text) <= room else _cut(text, room) for text in status]
    groups = [row.method if one_method else row.setting for row in rows]
    for group in dict.fromkeys(groups):
        table = _new_table(group, padding=0)
        table.add_column("", width=widths[0], overflow="fold")
        for name, width in zip(columns[1:], widths[1:], strict=True):
            table.add_column(name, width=width, justify="right", no_wrap=True)
        table.add_column("status", no_wrap=True)
        for belongs_to, line, state in zip(groups, cells, cut, strict=True):
            if belongs_to == group:
                table.add_row(*map(Text, (wrapped(line[0], widths[0]), *line[1:], state)))
        console.print(table)
        console.print()
    print_untested((run for row in rows for run in row.results), console)
    for row, whole, shown in zip(rows, status, cut, strict=True):
        if shown != whole:
            console.print(Text(f"{row.label} {whole}"), soft_wrap=True)


def _print_matrix(results: Results, console: Console) -> None:
    matrix = results.accuracy_matrix
    tasks = len(matrix[0])
    order = results.order or range(len(matrix))
    names = [f"after task {task}" if results.num_phases > 1 else "after training" for task in order]
    first = max(len(name) for name in [*names, "top-5 at the end"])
    columns = shortened(tasks, (console.width - first - 1) // (_CELL + 1))
    shown = shortened(len(matrix), _MAX_ROWS)
    table = _new_table(f"{results.measure.label} on task", padding=0)
    table.add_column()
    for task in columns:
        table.add_column(_GAP if task is None else str(task), justify="right", no_wrap=True, min_width=_CELL)
    for phase in shown:
        name, values = (_GAP, None) if phase is None else (names[phase], matrix[phase])
        table.add_row(name, *(_cell(values, task, phase, results) for task in columns))
    if results.top5_accuracy is not None:
        table.add_section()
        table.add_row("top-5 at the end", *(_cell(results.top5_accuracy, task, None, results) for task in columns))
    console.print(table)
    if None in columns or None in shown:
        console.print("The rest of the matrix is in results.json.")
    console.print()


def _cell(values: Sequence[float | None] | None, task: int | None, phase: int | None, results: Results) -> Text:
    if values is None or task is None:
        return Text(_GAP, style="dim")
    unseen = phase is not None and task >= results.tasks_seen(phase)
    return Text(_shown(results.measure, values[task]), style="dim" if unseen else "")


def _metric_lines(results: Results) -> Iterable[tuple[str, str]]:
    for name, value in results.metrics.items():
        label = name.replace("_", " ").replace("rmse", "RMSE")
        if name.startswith("validation") and results.num_phases > 1:
            label += " on the last phase"
        yield label, _shown(results.measure, value, signed=name in _SIGNED)
    if results.top5_accuracy is not None:
        top5 = [value for value in results.top5_accuracy if value is not None]
        yield "average top-5 accuracy", _shown(ACCURACY, sum(top5) / len(top5))


def _cost_lines(cost: Cost, samples: str) -> Iterable[tuple[str, str]]:
    yield "wall time", _seconds(cost.wall_time_s)
    yield f"training {samples}", f"{cost.training_samples:,}"
    yield "training speed", f"{cost.samples_per_s:,.0f} {samples}/s"
    yield "training compute", _scaled(cost.training_flops, "FLOPs")
    yield "parameters", _scaled(cost.parameters, "")
    yield "peak memory", _scaled(cost.peak_memory_bytes, "B")
    yield "stored beside network", _scaled(cost.buffer_bytes, "B")
    if cost.rehearsal is not None:
        yield "waited for replay", f"{cost.rehearsal['wait_ms'] / max(cost.rehearsal['step_ms'], 1e-9):.1%} of a step"


def _new_table(title: str, padding: int, show_header: bool = True) -> Table:
    return Table(
        title=Text(title),
        title_style="bold",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        show_header=show_header,
        padding=(0, padding, 0, 0),
    )


def _comparison_cells(row: Row, name: str) -> list[str]:
    if not row.results:
        return [name, *[NOT_DEFINED] * (len(ACCURACY.metrics) + 1), "0"]
    cells, measure = [name], row.results[0].measure
    statistics = mean_and_std(row.results)
    for metric in measure.metrics[: len(ACCURACY.metrics)]:
        statistic = statistics[metric]
        text = _shown(measure, statistic and statistic[0], signed=metric in _SIGNED)
        if metric == measure.metrics[0] and statistic is not None and len(row.results) > 1:
            text += f" ± {measure.show(statistic[1])}"
        cells.append(text)
    seconds = sum(run.cost.wall_time_s for run in row.results) / len(row.results)
    return [*cells, _clock(seconds), str(len(row.results))]


def shortened(n: int, most: int) -> list[int | None]:
    """Return the indices 0..n-1, or the first and last of them around a None where there are more than `most`."""
    most = max(most, 3)
    if n <= most:
        return list(range(n))
    last = (most - 1) // 2
    return [*range(most - 1 - last), None, *range(n - last, n)]


def _cut(text: str, width: int) -> str:
    return text[:width] if width <= len("failed: ") else text[: width - 1].rstrip() + _GAP


def _shown(measure: Measure, value: float | None, signed: bool = False) -> str:
    return NOT_DEFINED if value is None else measure.show(value, signed=signed)


def _seconds(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _clock(seconds: float) -> str:
    """Write a duration in few characters: `12.3 s`, `12:34` or `1:23:45`."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _scaled(value: float, unit: str) -> str:
    """Write a number with the prefix that leaves one to three digits before the point."""
    for prefix in ("", "k", "M", "G", "T", "P"):
        if abs(value) < 999.5 or prefix == "P":
            break
        value /= 1000
    digits = 0 if prefix == "" or value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:.{digits}f} {prefix}{unit}".rstrip()


# The costs, and whether they differ from seed to seed.
COSTS = {
    "training_flops": False,
    "wall_time_s": True,
    "samples_per_s": True,
    "peak_memory_bytes": True,
    "buffer_bytes": False,
    "parameters": False,
}


def write_comparison(rows: Sequence[Row], path: Path) -> None:
    """Write one line per pair: its seeds, mean and standard deviation of each metric and cost, and what went wrong.

    A metric that is undefined for the pair is left empty. Of costs that no clock or operating system measures, only
    the mean is written.
    """
    known = dict.fromkeys(name for row in rows for run in row.results for name in run.metrics) or ACCURACY.metrics
    columns = [f"{name}{suffix}" for name in known for suffix in ("", "_std")]
    columns += [f"{name}{suffix}" for name, varies in COSTS.items() for suffix in (("", "_std") if varies else ("",))]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, ["setting", "method", "seeds", *columns, "failure"])
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {"setting": row.setting, "method": row.method, "seeds": len(row.results), "failure": row.failure or ""}
            | dict(_values(row))
        )
    write_atomically(path, text.getvalue().encode())


def _values(row: Row) -> Iterator[tuple[str, float]]:
    if not row.results:
        return
    for name, statistic in mean_and_std(row.results).items():
        if statistic is not None:
            yield name, statistic[0]
            yield f"{name}_std", statistic[1]
    for name, varies in COSTS.items():
        values = [getattr(run.cost, name) for run in row.results]
        yield name, float(np.mean(values))
        if varies:
            yield f"{name}_std", float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
