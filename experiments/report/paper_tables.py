"""The table of a comparison as LaTeX or Markdown, to paste into a paper.

Under one setting, a line per method has its metrics; under several, a column per setting has the objective. A table of
one metric has it in the place of the objective.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from redwood.core.errors import InvalidOptionError
from redwood.core.printable import printable
from redwood.engine.pair_results import PARTLY, SOME_FAILED, PairResults, bound_notes, methods_in_order, repeats_of
from redwood.engine.significance import BEST, LEVEL, SIMILAR, UNKNOWN, Mark, Significance, significance_of
from redwood.settings.scores.measure import Measure
from redwood.settings.scores.results import Results, mean_and_std

# The special characters of LaTeX, and their replacements.
_ESCAPES = {c: f"\\{c}" for c in "&%$#_{}"} | {"\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\^{}"}
_MISSING, _FAILED = "--", "failed"
_SHORT = {"average_incremental": "incremental", "backward_transfer": "BWT", "forward_transfer": "FWT"}
_SIGNED = {"backward_transfer", "forward_transfer"}


@dataclass(frozen=True)
class _Cell:
    text: str
    mark: Mark = ""


@dataclass(frozen=True)
class _PaperTable:
    """Header, lines, notes for readers, and advice for the author, which each format writes in its way."""

    title: str
    header: list[str]
    lines: list[list[_Cell]]
    notes: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class TableFormat:
    """A format of tables: the end of its file's name, and what writes a table of pairs whose measure is one.

    `make(rows, metric)` writes all that a page has room for, or the metric of this name alone.
    """

    suffix: str
    make: Callable[[Sequence[PairResults], str], str]


def latex(rows: Sequence[PairResults], metric: str = "") -> str:
    r"""A `table` with the rules of booktabs: the best is `\textbf`, what cannot be told from it `\underline`."""
    table = _make(rows, metric, bold="bold", other="underlined")
    columns = "l" + "r" * (len(table.header) - 1)
    lines = [
        "% needs \\usepackage{booktabs}",
        *(f"% {advice}" for advice in table.advice),
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{_escaped('. '.join([table.title, *table.notes]))}.}}",
        f"\\begin{{tabular}}{{{columns}}}",
        "\\toprule",
        f"{' & '.join(map(_escaped, table.header))} \\\\",
        "\\midrule",
        *(f"{' & '.join(map(_latex_cell, line))} \\\\" for line in table.lines),
        "\\bottomrule",
        "\\end{tabular}",
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def markdown(rows: Sequence[PairResults], metric: str = "") -> str:
    """A table with pipes: the best is bold, what cannot be told from it is in italics."""
    table = _make(rows, metric, bold="bold", other="italic")
    lines = [
        f"{printable(table.title)}:",
        "",
        f"| {' | '.join(map(_piped, table.header))} |",
        f"|---|{'---:|' * (len(table.header) - 1)}",
        *(f"| {' | '.join(map(_markdown_cell, line))} |" for line in table.lines),
        "",
        *(f"{note}." for note in table.notes),
        *(f"<!-- {advice} -->" for advice in table.advice),
    ]
    return "\n".join(lines) + "\n"


TABLES: Mapping[str, TableFormat] = {
    "latex": TableFormat(".tex", latex),
    "markdown": TableFormat(".md", markdown),
}


def _make(rows: Sequence[PairResults], metric: str, *, bold: str, other: str) -> _PaperTable:
    settings = list(dict.fromkeys(row.setting for row in rows))
    runs = [run for row in rows for run in row.results]
    if not runs:
        return _PaperTable("No run has results", ["method"], [[_Cell(row.method)] for row in rows])
    _refuse_unknown(metric, runs)
    found = significance_of(rows, metric)
    notes = [f"Mean and standard deviation of {repeats_of(runs)}"] if len(runs) > len(rows) else []
    marks = {mark for one in found.values() if one.differences for mark in one.marks.values()}
    if SIMILAR in marks:
        notes.append(
            f"{bold.capitalize()}: best; {other}: not distinguishable from the best (paired permutation test, Holm's "
            f"correction, level {LEVEL:g})"
        )
    elif BEST in marks:
        notes.append(f"{bold.capitalize()}: best")
    notes += [note.capitalize() for note in bound_notes(rows)]
    advice = list(dict.fromkeys(one.note for one in found.values() if one.note))
    if any(row.failure and row.results for row in rows):
        notes.append(f"{PARTLY} {SOME_FAILED}")
    if len(settings) == 1:
        table = _of_one_setting(rows, found.get(settings[0]), metric, notes)
    else:
        table = _of_settings(rows, found, metric, notes)
    return replace(table, advice=advice)


def _refuse_unknown(metric: str, runs: Sequence[Results]) -> None:
    known = dict.fromkeys(name for run in runs for name, value in run.metrics.items() if value is not None)
    if metric and metric not in known:
        raise InvalidOptionError(
            f"--table has no metric {metric!r} of these runs; choose from {', '.join(known)}, and make the table by "
            "resume."
        )


def _of_one_setting(
    rows: Sequence[PairResults], found: Significance | None, metric: str, notes: list[str]
) -> _PaperTable:
    """A line for each method: the metric with its interval; of no metric, the objective, and all further metrics."""
    measure = next(row.results[0].measure for row in rows if row.results)
    further = [
        name
        for name in (() if metric else measure.metrics[1:])
        if any(row.results and mean_and_std(row.results).get(name) is not None for row in rows)
    ]
    several = found is not None and any(found.intervals.values())
    header = ["method", _title(metric, measure) if metric else measure.label, *(["95 % interval"] if several else [])]
    header += [short_metric(name, measure) for name in further]
    lines = []
    for row in rows:
        cells = [_Cell(row.method), _cell(row, found, metric)]
        if found is not None and several:
            interval = found.intervals.get(row.method)
            cells.append(_Cell(_MISSING if interval is None else " to ".join(map(measure.show, interval))))
        lines.append([*cells, *(_Cell(_metric(row, name)) for name in further)])
    setting = rows[0].setting
    title = _title(metric, measure) if metric else f"Average {measure.label} and further metrics"
    return _PaperTable(f"{title} under {setting}", header, lines, notes)


def _of_settings(
    rows: Sequence[PairResults], found: Mapping[str, Significance], metric: str, notes: list[str]
) -> _PaperTable:
    """A line for each method with the metric, or else the objective, under each setting."""
    settings, methods = list(dict.fromkeys(row.setting for row in rows)), methods_in_order(rows)
    cells = {(row.setting, row.method): _cell(row, found.get(row.setting), metric) for row in rows}
    lines = [
        [_Cell(method), *(cells.get((setting, method), _Cell(_MISSING)) for setting in settings)] for method in methods
    ]
    measure = next(row.results[0].measure for row in rows if row.results)
    title = _title(metric, measure) if metric else f"Average {measure.label}"
    return _PaperTable(f"{title} under each setting", ["method", *settings], lines, notes)


def _title(metric: str, measure: Measure) -> str:
    return f"{metric.replace('_', ' ').capitalize()}{f' ({measure.unit})' if measure.unit else ''}"


def _cell(row: PairResults, found: Significance | None, metric: str) -> _Cell:
    """The metric of a pair, or else its objective, with its deviation over runs and its mark."""
    if not row.results:
        return _Cell(_FAILED)
    measure = row.results[0].measure
    name = metric or measure.metrics[0]
    statistic = mean_and_std(row.results).get(name)
    text = _metric(row, name) if metric else measure.show(row.objective)
    if len(row.results) > 1 and statistic is not None:
        text += f" ± {measure.show(statistic[1])}"
    mark = found.marks.get(row.method, UNKNOWN) if found is not None and found.differences else UNKNOWN
    return _Cell(text + (PARTLY if row.failure else ""), mark)


def _metric(row: PairResults, name: str) -> str:
    statistic = mean_and_std(row.results).get(name) if row.results else None
    return _MISSING if statistic is None else row.results[0].measure.show(statistic[0], signed=name in _SIGNED)


def short_metric(name: str, measure: Measure) -> str:
    """The name of a metric without its measure; the usual abbreviation of a long one."""
    stem = name.removesuffix(f"_{measure.key}")
    return _SHORT.get(stem, stem.replace("_", " "))


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(character, character) for character in printable(text))


def _latex_cell(cell: _Cell) -> str:
    text = re.sub(r"(?<!\S)-(?=\d)", "$-$", _escaped(cell.text)).replace("±", "$\\pm$")
    return {BEST: f"\\textbf{{{text}}}", SIMILAR: f"\\underline{{{text}}}"}.get(cell.mark, text)


def _piped(text: str) -> str:
    return printable(text).replace("|", "\\|")


def _markdown_cell(cell: _Cell) -> str:
    text = _piped(cell.text)
    return {BEST: f"**{text}**", SIMILAR: f"*{text}*"}.get(cell.mark, text)
