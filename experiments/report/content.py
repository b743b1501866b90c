"""The content of a report, as plain values that its page holds as JSON."""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from redwood.engine.names import title_name
from redwood.engine.pair_results import Efficiency, efficiency_of, methods_in_order, run_key
from redwood.engine.significance import BEST, SIMILAR, UNKNOWN, WORSE, Significance, significance_of
from redwood.experiments.report.entries import Entry, entries_of
from redwood.experiments.report.source import FinishedRun, Source
from redwood.settings.rl.outcomes import Evaluations
from redwood.settings.rl.results import ReturnResults
from redwood.settings.scores.cost import USES
from redwood.settings.scores.measure import ACCURACY, LABEL_GROUPS, RETURN, SUCCESS, Measure
from redwood.settings.scores.pareto import loss_of
from redwood.settings.scores.results import Results, mean_and_std

Content: TypeAlias = dict[str, Any]

_DIGITS = 5  # significant ones
_MARKS = {BEST: "best", SIMILAR: "similar", WORSE: "worse", UNKNOWN: None}
_MAX_METRICS = 12
COSTS = ("wall_time_s", "samples_per_s", "peak_memory_bytes", "buffer_bytes", "parameters")


def content_of(sources: Sequence[Source]) -> Content:
    """Everything that a page shows of some folders.

    Numbers are unscaled and rounded; what is not known is None.
    """
    entries, notes = entries_of(sources)
    settings = list(dict.fromkeys(entry.setting for entry in entries))
    methods = methods_in_order(entry.results for entry in entries)
    pairs = [entry.results for entry in entries]
    efficiency, tests = efficiency_of(pairs), significance_of(pairs)
    content = {
        "title": _title(sources, settings, methods),
        "kind": sources[0].kind if len(sources) == 1 else "report",
        "made": time.strftime("%Y-%m-%d %H:%M"),
        "settings": [
            _setting(name, [entry for entry in entries if entry.setting == name], tests.get(name)) for name in settings
        ],
        "methods": methods,
        "looks": [sorted(methods).index(method) for method in methods],  # as `looks_of` numbers them for figures
        "success": _measure(SUCCESS, lower=False),
        "pairs": [_pair(entry, settings, methods) | _compared(entry, efficiency, tests) for entry in entries],
        "sources": [_source(source) for source in sources],
        "sweeps": [source.sweep for source in sources if source.sweep is not None],
        "hypervolume": {
            str(settings.index(name)): found.hypervolume for name, found in efficiency.items() if found.hypervolume
        },
        "spans": _spans(entries, settings, methods),
        "rehearsal": _rehearsal(entries),
        "notes": [*(note for source in sources for note in source.notes), *notes],
    }
    shown: Content = rounded(content)
    return shown


def _compared(entry: Entry, efficiency: Mapping[str, Efficiency], tests: Mapping[str, Significance]) -> Content:
    """Return a pair's place among the pairs of its setting: Pareto front, mark, interval and p-value."""
    if not entry.runs:
        return {}
    test = tests[entry.setting]
    return {
        "front": entry.method in efficiency[entry.setting].front,
        "mark": _MARKS[test.marks[entry.method]] if len(test.marks) > 1 else None,
        "interval": test.intervals[entry.method],
        "p": None if entry.method in test.best else test.p_to_best(entry.method),
    }


def _title(sources: Sequence[Source], settings: list[str], methods: list[str]) -> str:
    if len(settings) == 1 and len(methods) == 1:
        return f"{settings[0]} / {methods[0]}"
    names = dict.fromkeys(source.folder.resolve().name for source in sources)
    return ", ".join(names) if len(names) <= 3 else f"{len(names)} folders"


def _setting(name: str, entries: Sequence[Entry], test: Significance | None) -> Content:
    """Return the values that all runs under a setting share; few if no run is finished."""
    runs = [run.results for entry in entries for run in entry.runs]
    if not runs:
        return {"name": name, "measure": _measure(ACCURACY, lower=False), "metrics": list(ACCURACY.metrics)}
    first = runs[0]
    named = [run for run in runs if run.task_names == first.task_names]
    sliced = next((run.slices for run in runs if run.slices is not None), None)
    return {
        "name": name,
        "measure": _measure(first.measure, lower=first.lower_is_better),
        "ranked_by": first.ranked_by,
        "test": None if test is None else {"unit": test.unit, "units": test.units, "note": test.note},
        "metrics": _metrics(runs),
        "datasets": [title_name(dataset) for dataset in dict.fromkeys(run.dataset for run in runs)],
        "phases": first.num_phases,
        "phase_name": first.phase_name,
        "tasks": first.task_names if len(named) == len(runs) else [],
        "slices": None if sliced is None else {"by": sliced.by, "names": list(sliced.names)},
    }


def _measure(measure: Measure, *, lower: bool) -> Content:
    return {
        "key": measure.key,
        "name": measure.name,
        "label": measure.label,
        "online_label": measure.online_label,
        "factor": measure.factor,
        "unit": measure.unit,
        "decimals": measure.decimals,
        "samples": measure.samples,
        "lower": lower,
    }


def _metrics(runs: Sequence[Results]) -> list[str]:
    """The metrics that a run has, those of groups of labels left out."""
    known = dict.fromkeys(name for run in runs for name, value in run.metrics.items() if value is not None)
    return [name for name in known if not name.endswith(tuple(LABEL_GROUPS))][:_MAX_METRICS]


def _pair(entry: Entry, settings: list[str], methods: list[str]) -> Content:
    """One pair: means over its runs."""
    pair: Content = {
        "setting": settings.index(entry.setting),
        "method": methods.index(entry.method),
        "sources": list(entry.sources),
        "failure": entry.failure,
    }
    runs = [run.results for run in entry.runs]
    if not runs:
        return pair
    objectives = [run.objective for run in runs]
    costs = {name: _mean([getattr(run.cost, name) for run in runs]) for name in COSTS}
    return pair | {
        "seeds": [run.seed for run in runs],
        "tuning": None if entry.results.tuning is None else entry.results.tuning["flops"],
        "orders": len({run_key(run)[1] for run in runs}),
        "objective": [_mean(objectives), _deviation(objectives)],
        "objectives": objectives,
        "loss": loss_of(_mean(objectives), runs[0].measure),
        "metrics": {name: value for name, value in mean_and_std(runs).items() if value is not None},
        "flops": {use: _mean([run.cost.flops_by_use[use] for run in runs]) for use in USES},
        "cost": costs | {"wall_time_std": _deviation([run.cost.wall_time_s for run in runs])},
        "curve": _average(runs, lambda run: run.average_curve),
        "spread": _spread(runs, lambda run: run.average_curve),
        "online": _online(runs),
        "tests": _tests(runs),
        "matrix": _average(runs, lambda run: np.array(run.accuracy_matrix, dtype=np.float64)),
        "lost": _average(runs, _lost),
        "slices": _average(runs, _by_slice),
    }


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _deviation(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


Vector: TypeAlias = NDArray[np.float64]


def _arrays(runs: Sequence[Results], read: Callable[[Results], Vector]) -> list[Vector]:
    """One array for each run; only the first run's if their shapes differ."""
    arrays = [read(run) for run in runs]
    return arrays if all(array.shape == arrays[0].shape for array in arrays) else arrays[:1]


def _average(runs: Sequence[Results], read: Callable[[Results], Vector]) -> list[Any] | None:
    """The mean over runs, entry by entry; None where one of them has no value, and instead of nothing."""
    mean = np.mean(_arrays(runs, read), axis=0)
    return None if not mean.size or bool(np.isnan(mean).all()) else mean.tolist()


def _spread(runs: Sequence[Results], read: Callable[[Results], Vector]) -> list[Any] | None:
    arrays = _arrays(runs, read)
    return None if len(arrays) < 2 else np.std(arrays, axis=0, ddof=1).tolist()


def _lost(run: Results) -> Vector:
    """Return the loss of each task (T,) from its best score since its training to the end; NaN without such a score."""
    if run.num_phases == 1 or run.tasks_seen(0) == len(run.accuracy_matrix[0]):  # each phase trains on all tasks
        return np.empty(0)
    gains = -run.learned if run.lower_is_better else run.learned
    trained = list(range(len(gains))) if run.phase_tasks is None else run.phase_tasks
    lost = np.full(gains.shape[1], np.nan)
    for task in range(gains.shape[1]):
        first = trained.index(task)
        earlier = gains[first:-1, task]
        if len(earlier) and not np.isnan(earlier).all():
            lost[task] = np.nanmax(earlier) - gains[-1, task]
    return lost


def _by_slice(run: Results) -> Vector:
    return np.empty(0) if run.slices is None else np.array(run.slices.accuracy, dtype=np.float64)


def _online(runs: Sequence[Results]) -> list[list[float]] | None:
    """The online score: samples seen, and the mean over runs of the score since the last point."""
    curves = [np.array(run.online_curve, dtype=np.float64) for run in runs if run.online_curve]
    if not curves:
        return None
    length = min(map(len, curves))
    return [curves[0][:length, 0].tolist(), np.mean([curve[:length, 1] for curve in curves], axis=0).tolist()]


def _tests(runs: Sequence[Results]) -> Content | None:
    """Tests inside phases (`--eval_every`): steps (K,), and the means over runs of each measure; None without any.

    Runs whose points or tasks differ from those of the first one are left out.
    """
    measured = [run.evaluations for run in runs if isinstance(run, ReturnResults) and run.evaluations is not None]
    found = [one for one in measured if one.steps and one.steps == measured[0].steps]
    if not found:
        return None
    curves = {measure.key: _test_curves(found, f"curve_{measure.key}") for measure in (RETURN, SUCCESS)}
    return {"steps": found[0].steps, **{key: curve for key, curve in curves.items() if curve is not None}}


def _test_curves(found: Sequence[Evaluations], name: str) -> Content | None:
    """The mean over tasks at each point (K,) with its deviation over runs, and the curve of each task (T, K)."""
    tables = [one.values(name) for one in found]
    means = [one.average(name) for one, table in zip(found, tables, strict=True) if table.shape == tables[0].shape]
    tables = [table for table in tables if table.shape == tables[0].shape]
    if all(np.isnan(table).all() for table in tables):
        return None
    return {
        "mean": np.mean(means, axis=0).tolist(),
        "spread": None if len(means) < 2 else np.std(means, axis=0, ddof=1).tolist(),
        "tasks": np.mean(tables, axis=0).T.tolist(),
    }


def _source(source: Source) -> Content:
    """Return the facts that reproduce a folder: its command, its options, and the software."""
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
    return {
        "folder": _shown(source.folder),
        "name": source.folder.resolve().name,
        "kind": source.kind,
        "command": source.command,
        "versions": {name: ", ".join(found) for name, found in versions.items()},
        "options": {name: value for name, value in shared.items() if value not in ("", None, [])},
        "seconds": sum(run.results.cost.wall_time_s for run in source.runs),
        "runs": len(source.runs),
    }


def _shown(folder: Path) -> str:
    """A folder as the user named it; of the current one, its name."""
    return folder.resolve().name if folder == Path() else str(folder)


def _spans(entries: Sequence[Entry], settings: list[str], methods: list[str]) -> list[list[float]]:
    """Return setting, method, seed, begin and end of each run; times are in seconds since the first run began."""
    runs = [(entry, run) for entry in entries for run in entry.runs]
    if len(runs) < 2:
        return []
    zero = min(run.began for _, run in runs)
    return [
        [
            settings.index(entry.setting),
            methods.index(entry.method),
            run.results.seed,
            round(run.began - zero, 1),
            round(run.ended - zero, 1),
        ]
        for entry, run in runs
    ]


def _rehearsal(entries: Iterable[Entry]) -> list[Content]:
    """The time line of asynchronous rehearsal, of the first run of each pair that has one."""
    found = []
    for entry in entries:
        run = next((run for run in entry.runs if _timeline(run)), None)
        if run is not None:
            found.append({"label": entry.results.label, "spans": _timeline(run)})
    return found


def _timeline(run: FinishedRun) -> list[list[Any]]:
    spans: list[list[Any]] = (run.results.cost.rehearsal or {}).get("timeline", [])
    return spans if any(name == "step" for name, *_ in spans) else []


def rounded(value: Any) -> Any:
    """The value with numbers of few digits; what is not finite becomes None."""
    match value:
        case dict():
            return {str(key): rounded(entry) for key, entry in value.items()}
        case list() | tuple():
            return [rounded(entry) for entry in value]
        case bool() | int() | str() | None:
            return value
        case float() | np.floating():
            return _round(float(value))
        case _:
            return str(value)


def _round(value: float) -> float | int | None:
    if not math.isfinite(value):
        return None
    short = float(f"{value:.{_DIGITS}g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short
