"""The content of a report: its parts, with tables, and with the figures that lie in the folders."""

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite, nan
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from redwood.core.schema import Json
from redwood.engine.figures.comparison import draw_comparisons
from redwood.engine.figures.drawing import looks_of_pairs
from redwood.engine.figures.plots import draw_run
from redwood.engine.names import title_name
from redwood.engine.pair_results import PairResults, bound_notes, by_measure, marked_bounds, repeats_of
from redwood.engine.significance import significance_of
from redwood.engine.terminal import NOT_DEFINED, scaled
from redwood.experiments.report.comparison_tables import ON_FRONT, values_of
from redwood.experiments.report.entries import Entry, entries_of
from redwood.experiments.report.paper_tables import short_metric
from redwood.experiments.report.source import Source
from redwood.experiments.report.tables import SIGNED, Cell, Table, duration, show_value, tables_of
from redwood.settings.scores.measure import LABEL_GROUPS
from redwood.settings.scores.pareto import loss_of
from redwood.settings.scores.results import Results

MAX_BYTES = 2_700_000  # of the figures of a page
_MAX_METRICS = 12
_COMPARED = "beside the best"  # the column of the tests
_LEAD = (
    "Means over runs, ± standard deviation. Bold: the best mean of a setting, as rounded. A click on a heading sorts."
)


class Picture(NamedTuple):
    """A figure of the page: its name, and the SVG as the source of an image, where no script in it can run."""

    name: str
    source: str


@dataclass(frozen=True)
class Part:
    """A part of the page: a title, a text, tables and figures; a click on the name of `folded` figures shows them."""

    title: str
    lead: str = ""
    tables: Sequence[Table] = ()
    figures: Sequence[Picture] = ()
    folded: Sequence[tuple[str, Sequence[Picture]]] = ()


@dataclass(frozen=True)
class Content:
    """All that a page shows; `notes` are sentences on what is left out or kept apart."""

    title: str
    kind: str
    facts: Sequence[str]
    parts: Sequence[Part]
    sources: Sequence[Json]
    notes: Sequence[str]


def content_of(sources: Sequence[Source]) -> Content:
    """The content of a page on some folders."""
    entries, notes = entries_of(sources)
    pairs = marked_bounds(entry.results for entry in entries)
    runs = [run for entry in entries for run in entry.runs]
    if sources[0].kind == "run" and len(runs) == 1:
        parts = [
            Part("Results", tables=list(tables_of(runs[0].results))),
            Part("Figures", figures=read_pictures(runs[0].folder.glob("*.svg")) or drawn_run(runs[0].results)),
        ]
    else:
        drawn = _comparison_pictures(sources, pairs)
        shown = [one for number, one in enumerate(drawn, start=1) if _size(drawn[:number]) <= MAX_BYTES]
        folded, left_out = _of_runs(entries, MAX_BYTES - _size(shown))
        parts = [
            Part("Results", _LEAD, result_tables(pairs)),
            Part("Comparison", figures=shown),
            *(
                Part("Tuning", one.lead, one.tables, read_pictures([one.folder / "sweep.svg"]))
                for one in sources
                if one.tables
            ),
            Part("Runs", "The figures of the first run of each pair.", folded=folded),
        ]
        left_out += len(drawn) - len(shown)
        if left_out:
            notes.append(f"The figures of {left_out} pairs or settings have no room on this page; see their folders.")
    return Content(
        _title(sources, pairs),
        sources[0].kind if len(sources) == 1 else "report",
        list(_facts(pairs)),
        [part for part in parts if part.tables or part.figures or part.folded],
        [_described(source) for source in sources],
        [*(note for source in sources for note in source.notes), *notes],
    )


def read_pictures(paths: Iterable[Path]) -> list[Picture]:
    """The figures in some files; what is no file, or larger than a page, is left out."""
    found = [path for path in sorted(paths) if path.is_file() and path.stat().st_size < MAX_BYTES]
    texts = [base64.b64encode(path.read_bytes()).decode() for path in found]
    return [
        Picture(path.stem.replace("_", " "), f"data:image/svg+xml;base64,{text}")
        for path, text in zip(found, texts, strict=True)
    ]


def drawn_run(results: Results) -> list[Picture]:
    """The figures of a run, drawn now; none of an untested one."""
    if not results.tested:
        return []
    with TemporaryDirectory() as folder:
        draw_run(results, Path(folder), ".svg")
        return read_pictures(Path(folder).glob("*.svg"))


def _size(pictures: Iterable[Picture]) -> int:
    return sum(len(picture.source) for picture in pictures)


def _comparison_pictures(sources: Sequence[Source], pairs: Sequence[PairResults]) -> list[Picture]:
    """The figures of a comparison; of several folders, or before its end, they are drawn now."""
    folder = sources[0].runs_folder
    if len(sources) == 1 and (folder / "comparison.svg").exists():
        return read_pictures(folder.glob("comparison*.svg"))
    return drawn_comparison(pairs)


def tested_alone(pairs: Iterable[PairResults]) -> list[PairResults]:
    """The pairs with those of their runs that were tested."""
    return [replace(pair, results=[run for run in pair.results if run.tested]) for pair in pairs]


def drawn_comparison(pairs: Sequence[PairResults]) -> list[Picture]:
    """The figures of pairs, drawn now; none of a single run."""
    tested = tested_alone(pairs)
    if sum(len(pair.results) for pair in tested) < 2:
        return []
    with TemporaryDirectory() as temporary:
        draw_comparisons(tested, Path(temporary), ".svg")
        return read_pictures(Path(temporary).glob("*.svg"))


def _of_runs(entries: Sequence[Entry], most: int) -> tuple[list[tuple[str, list[Picture]]], int]:
    """The figures of a run of each pair, of the best pairs first, and the number of pairs without room."""
    done = sorted((entry for entry in entries if entry.runs), key=lambda entry: _loss(entry.results))
    found: dict[str, list[Picture]] = {}
    for entry in done:
        run = next((one for one in entry.runs if any(one.folder.glob("*.svg"))), entry.runs[0])
        figures = read_pictures(run.folder.glob("*.svg"))
        most -= _size(figures)
        if most < 0:
            break
        found[f"{entry.results.label}, seed {run.results.seed}"] = figures
    return [(name, figures) for name, figures in sorted(found.items()) if figures], len(done) - len(found)


def _loss(pair: PairResults) -> float:
    return loss_of(pair.objective, pair.results[0].measure)


def _shown(pair: PairResults) -> str:
    return pair.results[0].measure.show(pair.objective)


def _title(sources: Sequence[Source], pairs: Sequence[PairResults]) -> str:
    if len(pairs) == 1:
        return pairs[0].label
    names = dict.fromkeys(source.folder.resolve().name for source in sources)
    return ", ".join(names) if len(names) <= 3 else f"{len(names)} folders"


def _facts(pairs: Sequence[PairResults]) -> Iterator[str]:
    for kind, names in (("method", {pair.method for pair in pairs}), ("setting", {pair.setting for pair in pairs})):
        if len(names) > 1:
            yield f"{len(names)} {kind}s"
    runs = [run for pair in pairs for run in pair.results]
    if runs:
        datasets = list(dict.fromkeys(title_name(run.dataset) for run in runs))
        yield ", ".join(datasets[:3]) + (f" and {len(datasets) - 3} more" if len(datasets) > 3 else "")
        yield f"seed {runs[0].seed}" if len(runs) == 1 else f"{len(runs)} runs, {repeats_of(runs)}"
        yield f"{duration(sum(run.cost.wall_time_s for run in runs))} of training and tests"
    missing = sum(not pair.results for pair in pairs)
    if missing:
        yield f"{missing} without results"


def result_tables(pairs: Sequence[PairResults]) -> list[Table]:
    """A table for each measure, with a line for each pair: by setting, the best first."""
    colours = {method: look.colour for method, look in looks_of_pairs(pairs).items()}
    return [_result_table(group, colours) for group in by_measure(pairs).values()]


def _result_table(pairs: Sequence[PairResults], colours: Mapping[str, str]) -> Table:
    settings = list(dict.fromkeys(pair.setting for pair in pairs))
    compared = [pair for pair in pairs if pair.results and pair.ran_under is None]
    best = {name: min((p for p in compared if p.setting == name), key=_loss, default=None) for name in settings}
    done, failed = [], []
    for pair, values in zip(pairs, values_of(pairs), strict=True):
        names = {"method": Cell(pair.method, style="text", colour=colours[pair.method])}
        names |= {"setting": Cell(pair.setting, style="text")} if len(settings) > 1 else {}
        if pair.results:
            alone = pair.ran_under is not None or sum(other.setting == pair.setting for other in compared) == 1
            values |= {"significance": "", "pareto": 0} if alone else {}
            top = best[pair.setting]  # means that print alike are marked alike
            is_best = not alone and top is not None and _shown(pair) == _shown(top)
            scores = names | _scores(pair, values, is_best=is_best)
            done.append((settings.index(pair.setting), _loss(pair), scores, _costs(pair, values)))
        else:
            reason = f"failed: {pair.failure}" if pair.failure else "not run yet"
            failed.append([*names.values(), Cell(reason, style="failed")])
    done.sort(key=itemgetter(0, 1))
    # The order of columns is that of a full line. A bound, which may come first, is compared with no method.
    full = sorted((scores for _, _, scores, _ in done), key=lambda cells: (_COMPARED not in cells, -len(cells)))
    cells = full + [costs for _, _, _, costs in done]
    columns = list(dict.fromkeys(column for some in cells for column in some)) or [
        "method",
        *["setting"] * (len(settings) > 1),
        "results",
    ]
    lines = [[(scores | costs).get(column, Cell(NOT_DEFINED)) for column in columns] for _, _, scores, costs in done]
    notes = [*(one.note for one in significance_of(pairs).values()), *bound_notes(pairs)]
    if any(ON_FRONT in cell.text for _, _, _, costs in done for cell in costs.values()):
        notes.append(f"{ON_FRONT} no method is better in both score and FLOPs")
    return Table("", columns, [*lines, *failed], list(dict.fromkeys(note for note in notes if note)))


def _scores(pair: PairResults, values: Json, *, is_best: bool) -> dict[str, Cell]:
    """The cells of a pair's scores by their headings, and of its place among the pairs of its setting."""
    measure = pair.results[0].measure
    key = f"{pair.results[0].ranked_by}_{measure.key}"
    objective = pair.objective if isfinite(pair.objective) else None  # of an untested run
    text = show_value(measure, objective)
    if len(pair.results) > 1 and f"{key}_std" in values:
        text += f" ± {measure.show(values[f'{key}_std'])}"
    text += " (some failed)" if pair.failure else ""
    cells = {measure.label: Cell(text, objective, "best" if is_best else "")}
    if isfinite(values.get("objective_low", nan)):
        interval = " to ".join(measure.show(values[f"objective_{end}"]) for end in ("low", "high"))
        cells["95 % interval"] = Cell(interval, values["objective_low"])
    if values["significance"]:
        p_value = f" (p = {values['p_to_best']:.2g})" if "p_to_best" in values else ""
        cells[_COMPARED] = Cell(values["significance"] + p_value, values.get("p_to_best", 1.0), "text")
    further = [name for name in (*pair.results[0].metrics, "transfer_to_last") if name in values and name != key]
    for name in [name for name in further if not name.endswith(tuple(LABEL_GROUPS))][:_MAX_METRICS]:
        shown = show_value(measure, values[name], signed=name in SIGNED)
        cells[short_metric(name, measure)] = Cell(shown, values[name])
    return cells


def _costs(pair: PairResults, values: Json) -> dict[str, Cell]:
    flops = scaled(values["flops_total"], "") + f" {ON_FRONT}" * values["pareto"]
    cells = {"FLOPs": Cell(flops, values["flops_total"])}
    if "tuning_flops" in values:
        cells["FLOPs of tuning"] = Cell(scaled(values["tuning_flops"], ""), values["tuning_flops"])
    cells["time"] = Cell(duration(values["wall_time_s"]), values["wall_time_s"])
    for column, name, unit in (
        (f"{pair.results[0].measure.samples}/s", "samples_per_s", ""),
        ("memory", "peak_memory_bytes", "B"),
        ("stored", "buffer_bytes", "B"),
        ("parameters", "parameters", ""),
    ):
        cells[column] = Cell(scaled(values[name], unit), values[name])
    return cells | {"runs": Cell(str(len(pair.results)), len(pair.results))}


def _described(source: Source) -> Json:
    """The facts that reproduce a folder: its command, its options, and the software."""
    versions: dict[str, dict[str, None]] = {}
    for run in source.runs:
        for name, version in run.results.versions.items():
            versions.setdefault(name, {})[version] = None
    configs = [run.results.options for run in source.runs]
    shared = {
        name: value
        for name, value in (configs[0] if configs else {}).items()
        if all(name in config and config[name] == value for config in configs) and not isinstance(value, dict)
    }
    lines = [
        [Cell(f"--{name}"), Cell(" ".join(map(str, value)) if isinstance(value, list) else str(value), style="text")]
        for name, value in shared.items()
        if value not in ("", None, [])
    ]
    return {
        "folder": source.folder.resolve().name if source.folder == Path() else str(source.folder),
        "command": source.command,
        "versions": {name: ", ".join(found) for name, found in versions.items()},
        "options": Table("", ["", ""], lines),
    }
