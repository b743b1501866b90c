"""The results of one run as tables, for a terminal, a log file or the page of a report."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from rich.console import Console
from rich.text import Text

from redwood.engine.names import short_name, task_in_words, task_label
from redwood.engine.terminal import NOT_DEFINED, new_table, scaled
from redwood.settings.scores.cost import Cost
from redwood.settings.scores.measure import ACCURACY, RETURN, Measure
from redwood.settings.scores.results import Results
from redwood.settings.scores.slices import LOSS, SliceScores

GAP = "…"
_MAX_ROWS = 24  # of a matrix; the page has its figure
_MAX_LINES = 40  # of any other table on a terminal
_CELL = len("100.0")
_CLASS = "class"  # what makes the slices where none were asked for
ABBREVIATIONS = {name: name.upper() for name in ("rmse", "lca", "f1", "cf1", "of1")} | {"map": "mAP"}
SIGNED = {"backward_transfer", "forward_transfer"}


class Cell(NamedTuple):
    """A cell of a table.

    Attributes:
        text: The text.
        key: The number that lines are sorted by; None: by the text.
        style: A class of the page's style, such as `best`.
        colour: The colour of a mark beside the cell; empty: no mark.
    """

    text: str
    key: float | None = None
    style: str = ""
    colour: str = ""


class Table(NamedTuple):
    """A table.

    Attributes:
        title: Written above it.
        columns: The headings; empty for a column without one.
        lines: The cells of each line. Where there are fewer than columns, the last one is as wide as the rest.
        notes: Sentences below it.
    """

    title: str
    columns: Sequence[str]
    lines: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()


def tables_of(results: Results, *, goes_on: bool = False) -> Iterator[Table]:
    """The tables of one run beside its matrix.

    Args:
        results: A run, finished or not.
        goes_on: Whether the cost counts that of earlier sittings, too.
    """
    for rows in results.further_rows():
        values = {
            name: [
                show_value(results.measure, value) if rows.scores or value is None else f"{value:g}" for value in line
            ]
            for name, line in rows.rows.items()
        }
        yield _table(rows.title, ["", *rows.columns], ([name, *line] for name, line in values.items()))
    unit = f" ({results.measure.unit})" if results.measure.unit else ""
    yield _table(f"metrics{unit}", ["", ""], _metric_lines(results))
    yield _table("cost", ["", ""], _cost_lines(results.cost, results.measure.samples, goes_on))
    slices = results.slices
    if slices is not None and slices.by != _CLASS:
        columns = ["slice", "test samples", "accuracy (%)", "loss"]
        yield _table(f"slices by {slices.by}", columns, _slice_lines(slices))


def _table(title: str, columns: Sequence[str], lines: Iterable[Iterable[str]]) -> Table:
    return Table(title, columns, [[Cell(text) for text in line] for line in lines])


def print_results(results: Results, console: Console, *, goes_on: bool = False) -> None:
    """Print the accuracy matrix, the metrics and the cost of one run.

    Args:
        results: A run, finished or not.
        console: Where to print; its width decides how many tasks are shown.
        goes_on: Whether the cost counts that of earlier sittings, too.
    """
    names = (short_name(results.setting), short_name(results.method), results.dataset, f"seed {results.seed}")
    console.print(Text(" · ".join(name for name in names if name), style="bold"), soft_wrap=True)
    if results.tested:
        _print_matrix(results, console)
    for table in tables_of(results, goes_on=goes_on):
        _print_table(table, console)
    print_untested([results], console)


def summary_of(results: Results) -> str:
    """The objective of a run in few words, as in `average accuracy 45.3 %, 12.3 s`."""
    measure = results.measure
    last = results.objective if results.tested else next(reversed(results.tuning_curve), None)
    value = f"{show_value(measure, last)} {measure.unit}".rstrip()
    if results.tested:
        where = " on the new tasks" if results.phases_before else ""
    else:
        where = " in training" if measure is RETURN else " on held-out samples"
    return f"{results.ranked_by} {measure.name}{where} {value}, {results.cost.wall_time_s:.1f} s"


def print_untested(runs: Iterable[Results], console: Console) -> None:
    """Say what is not known of runs that left tasks untested, or that extend runs whose data is gone."""
    runs = list(runs)
    if any(run.phases_before for run in runs):
        before = "the data of the run before is not at hand, or its setting pools tasks"
        console.print(Text(f"The scores are those of the new tasks alone: {before}."), soft_wrap=True)
        console.print()
    untested = [run for run in runs if not run.all_tested]
    if not untested:
        return
    if not any(run.tested for run in untested) or any(run.options.get("eval_tasks") == "none" for run in untested):
        note = f"{NOT_DEFINED} was not measured: --eval_tasks none tests no task."
    elif all("extends" in run.config for run in untested):
        note = f"{NOT_DEFINED} was not measured: these tasks came when the run was extended."
    else:
        note = f"{NOT_DEFINED} was not measured: --eval_tasks seen tests a task from the phase on that trains it."
    if any(run.tested and run.measure is not RETURN and "extends" not in run.config for run in untested):
        note += " Forward transfer needs --eval_tasks all."
    console.print(Text(note), soft_wrap=True)
    console.print()


def _print_matrix(results: Results, console: Console) -> None:
    matrix = results.accuracy_matrix
    tasks = len(matrix[0])
    order = results.order or range(len(matrix))
    whole = "online" if results.ranked_by == "online" else "after training"
    names = [f"after {task_in_words(results, task)}" if results.num_phases > 1 else whole for task in order]
    first = max(len(name) for name in [*names, "top-5 at the end"])
    labels = [task_label(results, task) for task in range(tasks)]
    width = max(_CELL, *map(len, labels))
    columns = shortened(tasks, (console.width - first - 1) // (width + 1))
    shown = shortened(len(matrix), _MAX_ROWS)
    table = new_table(f"{results.measure.label} on task", padding=0)
    table.add_column()
    for task in columns:
        table.add_column(GAP if task is None else labels[task], justify="right", no_wrap=True, min_width=_CELL)
    for phase in shown:
        name, values = (GAP, None) if phase is None else (names[phase], matrix[phase])
        table.add_row(name, *(_cell(values, task, phase, results) for task in columns))
    if results.top5_accuracy is not None:
        table.add_section()
        table.add_row("top-5 at the end", *(_cell(results.top5_accuracy, task, None, results) for task in columns))
    console.print(table)
    if None in columns or None in shown:
        console.print("The rest of the matrix is in results.json.")
    console.print()


def _print_table(table: Table, console: Console) -> None:
    shown = new_table(table.title, padding=int(len(table.columns) < _CELL), show_header=any(table.columns))
    shown.add_column(Text(table.columns[0]))
    for column in table.columns[1:]:
        shown.add_column(Text(column), justify="right", min_width=_CELL)
    places = shortened(len(table.lines), _MAX_LINES)
    for place in places:
        shown.add_row(*([GAP] if place is None else (Text(cell.text) for cell in table.lines[place])))
    console.print(shown)
    if None in places:
        console.print("The rest of the table is in results.json.")
    console.print()


def _cell(values: Sequence[float | None] | None, task: int | None, phase: int | None, results: Results) -> Text:
    if values is None or task is None:
        return Text(GAP, style="dim")
    unseen = phase is not None and task >= results.tasks_seen(phase)
    return Text(show_value(results.measure, values[task]), style="dim" if unseen else "")


def _metric_lines(results: Results) -> Iterable[tuple[str, str]]:
    for name, value in results.metrics.items():
        label = " ".join(ABBREVIATIONS.get(word, word) for word in name.split("_"))
        if name.startswith("average_validation"):
            label += " of all phases"
        elif name.startswith("validation") and results.num_phases > 1:
            label += " on the last phase"
        why = results.why_undefined(name) if value is None and results.tested else ""
        if name == "forgetting" and value is not None and value < 0:
            why = "negative: earlier tasks have improved"
        yield f"{label} ({why})" if why else label, show_value(results.measure, value, signed=name in SIGNED)
    if results.top5_accuracy is not None:
        top5 = [value for value in results.top5_accuracy if value is not None]
        yield "average top-5 accuracy", show_value(ACCURACY, sum(top5) / len(top5))
    if results.slices is not None and (results.slices.by != _CLASS or results.rates_classes):
        yield from _eer_lines(results.slices)


def _slice_lines(slices: SliceScores) -> Iterable[list[str]]:
    for name, samples, accuracy, loss in zip(slices.names, slices.samples, slices.accuracy, slices.loss, strict=True):
        yield [name, str(samples), show_value(ACCURACY, accuracy), NOT_DEFINED if loss is None else f"{loss:.3f}"]


def _eer_lines(slices: SliceScores) -> Iterable[tuple[str, str]]:
    """The equalised error rates, of losses in nats or of error rates in percent."""
    for name, value in (("average", slices.average_eer), ("largest", slices.largest_eer)):
        unit, shown = ("nats", f"{value:.3f}") if slices.eer_of == LOSS else ("%", show_value(ACCURACY, value))
        yield f"{name} EER, {slices.eer_of} by {slices.by} ({unit})", shown


def _cost_lines(cost: Cost, samples: str, goes_on: bool) -> Iterable[tuple[str, str]]:
    yield f"wall time{' of all sittings' * goes_on}", duration(cost.wall_time_s)
    for name, seconds in (("training", cost.training_time_s), ("evaluation", cost.evaluation_time_s)):
        if seconds is not None:
            yield f"{name} time", duration(seconds)
    yield f"training {samples}", f"{cost.training_samples:,}"
    yield "training speed", f"{cost.samples_per_s:,.0f} {samples}/s"
    yield from _compute_lines(cost)
    yield "parameters", scaled(cost.parameters, "")
    yield "peak memory", scaled(cost.peak_memory_bytes, "B")
    yield "stored beside network", scaled(cost.buffer_bytes, "B")
    if cost.rehearsal is not None:
        yield "waited for replay", f"{cost.rehearsal['wait_ms'] / max(cost.rehearsal['step_ms'], 1e-9):.1%} of a step"


def _compute_lines(cost: Cost) -> Iterable[tuple[str, str]]:
    """FLOPs of training; where there are others, of each use and of all."""
    used = {use: flops for use, flops in cost.flops_by_use.items() if flops or use == "training"}
    for use, flops in used.items():
        yield f"{use} compute", scaled(flops, "FLOPs")
    if len(used) > 1:
        yield "total compute", scaled(cost.total_flops, "FLOPs")


def shortened(n: int, most: int) -> list[int | None]:
    """Return the indices 0..n-1, or the first and last of them around a None where there are more than `most`."""
    most = max(most, 3)
    if n <= most:
        return list(range(n))
    last = (most - 1) // 2
    return [*range(most - 1 - last), None, *range(n - last, n)]


def show_value(measure: Measure, value: float | None, signed: bool = False) -> str:
    """A value as text; a dash if it is not defined."""
    return NOT_DEFINED if value is None else measure.show(value, signed=signed)


def duration(seconds: float) -> str:
    """Write a duration in words: `12.3 s`, `2 min 05 s` or `1 h 02 min`."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
