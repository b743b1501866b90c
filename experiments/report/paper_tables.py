"""The table of a comparison as LaTeX or Markdown, to paste into a paper.

Under one setting, a line per method has its metrics; under several, a column per setting has the objective. Metrics
that are asked for take the place of the objective: under several settings, each one has a table. A metric that is
alone has a table of each setting, too, with the intervals.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from redwood.core.printable import printable
from redwood.engine.pair_results import PARTLY, SOME_FAILED, PairResults, bound_notes, methods_in_order, repeats_of
from redwood.engine.significance import BEST, LEVEL, SIMILAR, UNKNOWN, Mark, Significance, significance_of
from redwood.settings.scores.measure import Measure
from redwood.settings.scores.results import mean_and_std

# The special characters of LaTeX, and their replacements.
_ESCAPES = {c: f"\\{c}" for c in "&%$#_{}"} | {"\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\^{}"}
_MISSING, _FAILED, _NOT_YET = "--", "failed", "not run yet"
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
    """A format of tables: the end of its file's name, and what writes the tables of pairs whose measure is one.

    `make(rows, metrics)` writes all that a page has room for, or the metrics of these names alone.
    """

    suffix: str
    make: Callable[[Sequence[PairResults], Sequence[str]], str]


def latex(rows: Sequence[PairResults], metrics: Sequence[str] = ()) -> str:
    r"""A `table` with the rules of booktabs: the best is `\textbf`, what cannot be told from it `\underline`."""
    return "\n".join(map(_latex_table, _tables(rows, metrics, other="underlined")))


def _latex_table(table: _PaperTable) -> str:
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


def markdown(rows: Sequence[PairResults], metrics: Sequence[str] = ()) -> str:
    """A table with pipes: the best is bold, what cannot be told from it is in italics."""
    return "\n".join(map(_markdown_table, _tables(rows, metrics, other="italic")))


def _markdown_table(table: _PaperTable) -> str:
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


def _tables(rows: Sequence[PairResults], metrics: Sequence[str], *, other: str) -> Iterator[_PaperTable]:
    """One table under one setting; a table for each metric under several, and of one alone, those of the settings."""
    settings = dict.fromkeys(row.setting for row in rows)
    if len(settings) == 1:
        yield _make(rows, metrics or ("",), other)
        return
    for metric in metrics or ("",):
        yield _make(rows, (metric,), other)
    if len(metrics) == 1 and any(len(row.results) > 1 for row in rows):
        groups = ([row for row in rows if row.setting == setting] for setting in settings)
        yield from (_make(group, metrics, other) for group in groups if any(row.results for row in group))


def _make(rows: Sequence[PairResults], metrics: Sequence[str], other: str) -> _PaperTable:
    """The table of some metrics; an empty name is the objective."""
    settings = list(dict.fromkeys(row.setting for row in rows))
    runs = [run for row in rows for run in row.results]
    if not runs:
        return _PaperTable("No run has results", ["method"], [[_Cell(row.method)] for row in rows])
    columns = [_Column(metric, significance_of(rows, metric), rows) for metric in metrics]
    table = _of_one_setting(rows, columns) if len(settings) == 1 else _of_settings(rows, columns[0])
    found = [one for column in columns for one in column.found.values()]
    notes = [f"Mean and standard deviation of {repeats_of(runs)}"] if len(runs) > len(rows) else []
    missing = sum(row.missing for row in rows)
    notes += [f"{len(runs)} of {len(runs) + missing} runs"] if missing else []
    marks = {cell.mark for line in table.lines for cell in line}
    if SIMILAR in marks:
        notes.append(
            f"Bold: best mean, as rounded; {other}: not distinguishable from the best (paired permutation test, Holm's "
            f"correction, level {LEVEL:g})"
        )
    elif BEST in marks:
        notes.append("Bold: best mean, as rounded")
    notes += [note.capitalize() for note in bound_notes(rows)]
    if any(row.failure and row.results for row in rows):
        notes.append(f"{PARTLY} {SOME_FAILED}")
    return replace(table, notes=notes, advice=list(dict.fromkeys(one.note for one in found if one.note)))


class _Column:
    """The cells of a metric, with marks; an empty name is the objective."""

    def __init__(self, metric: str, found: Mapping[str, Significance], rows: Sequence[PairResults]) -> None:
        self.metric, self.found = metric, found
        # Means that print alike are marked alike.
        self._best = {(row.setting, self._mean(row)) for row in rows if row.results and self._marked(row) == BEST}

    def _mean(self, row: PairResults) -> str:
        return _metric(row, self.metric) if self.metric else row.results[0].measure.show(row.objective)

    def _marked(self, row: PairResults) -> Mark:
        found = self.found.get(row.setting)
        return found.marks.get(row.method, UNKNOWN) if found is not None and found.differences else UNKNOWN

    def cell(self, row: PairResults) -> _Cell:
        """The mean of a pair's runs, with its deviation and its mark."""
        if not row.results:
            return _Cell(_FAILED if row.failure else _NOT_YET)
        measure, mean = row.results[0].measure, self._mean(row)
        statistic = mean_and_std(row.results).get(self.metric or measure.metrics[0])
        deviation = f" ± {measure.show(statistic[1])}" if len(row.results) > 1 and statistic is not None else ""
        is_best = row.ran_under is None and (row.setting, mean) in self._best
        return _Cell(mean + deviation + (PARTLY if row.failure else ""), BEST if is_best else self._marked(row))


def _of_one_setting(rows: Sequence[PairResults], columns: Sequence[_Column]) -> _PaperTable:
    """A line for each method: several metrics; one, with its interval; or the objective, and all further metrics."""
    measure = next(row.results[0].measure for row in rows if row.results)
    setting, metrics = rows[0].setting, [column.metric for column in columns if column.metric]
    further = [
        name
        for name in (() if metrics else measure.metrics[1:])
        if any(row.results and mean_and_std(row.results).get(name) is not None for row in rows)
    ]
    found = columns[0].found.get(setting) if len(columns) == 1 else None
    several = found is not None and any(found.intervals.values())
    header = [
        "method",
        *(_title(column.metric, measure) for column in columns),
        *(["95 % interval"] if several else []),
    ]
    header += [short_metric(name, measure) for name in further]
    lines = []
    for row in rows:
        cells = [_Cell(row.method), *(column.cell(row) for column in columns)]
        if found is not None and several:
            interval = found.intervals.get(row.method)
            cells.append(_Cell(_MISSING if interval is None else " to ".join(map(measure.show, interval))))
        lines.append([*cells, *(_Cell(_metric(row, name)) for name in further)])
    titles = [_title(name, measure) for name in metrics]
    titles[1:] = [title[0].lower() + title[1:] for title in titles[1:]]  # within a sentence
    title = (
        " and ".join([", ".join(titles[:-1]), titles[-1]][len(titles) == 1 :])
        if titles
        else f"Average {measure.label} and further metrics"
    )
    return _PaperTable(f"{title} under {setting}", header, lines)


def _of_settings(rows: Sequence[PairResults], column: _Column) -> _PaperTable:
    """A line for each method with the metric, or else the objective, under each setting."""
    settings, methods = list(dict.fromkeys(row.setting for row in rows)), methods_in_order(rows)
    cells = {(row.setting, row.method): column.cell(row) for row in rows}
    lines = [
        [_Cell(method), *(cells.get((setting, method), _Cell(_MISSING)) for setting in settings)] for method in methods
    ]
    measure = next(row.results[0].measure for row in rows if row.results)
    title = _title(column.metric, measure) if column.metric else f"Average {measure.label}"
    return _PaperTable(f"{title} under each setting", ["method", *settings], lines)


def _title(metric: str, measure: Measure) -> str:
    if not metric:
        return measure.label
    return f"{metric.replace('_', ' ').capitalize()}{f' ({measure.unit})' if measure.unit else ''}"


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
