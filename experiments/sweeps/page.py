"""Sweeps in a report: the trials in `sweep.json`, and the runs of the best configuration."""

from collections import Counter
from math import inf
from pathlib import Path

from redwood.core.calls import resume_call
from redwood.core.files import read_json
from redwood.core.schema import ANYTHING, Json, ListOf, MapOf, Number, Record, Text, check
from redwood.engine.terminal import NOT_DEFINED, scaled
from redwood.experiments.comparisons.page import source_of_comparison
from redwood.experiments.launchers.plan import FOUND, is_comparison
from redwood.experiments.report.source import Source, command
from redwood.experiments.report.tables import Cell, Table, duration
from redwood.experiments.sweeps.plan import BEST
from redwood.settings.scores.measure import ACCURACY, MEASURES, Measure

_STATES = {"pruned": "ended early"}
_TRIAL = Record(
    {
        "number": Number(low=0, whole=True),
        "parameters": MapOf(ANYTHING),
        "state": Text(),
        "values": ListOf(Number(optional=True)),
        "curve": ListOf(Number(optional=True)),
        "seconds": Number(low=0),
        "flops": Number(low=0),
        "reason": Text(empty=True),
    },
    optional=frozenset({"curve", "reason"}),
)
_SWEEP = Record(
    {
        "setting": Text(),
        "method": Text(),
        "protocol": Text(),
        "phases": Number(low=1, whole=True),
        "objectives": ListOf(Text(), least=1),
        "directions": ListOf(Text(), least=1),
        "measure": Text(),
        "scored_on": Text(),
        "validation": Number(optional=True),
        "space": MapOf(ANYTHING),
        "arguments": ListOf(Text(empty=True)),
        "seeds": Number(low=1, whole=True),
        "class_orders": Number(low=1, whole=True, optional=True),
        "n_trials": Number(low=1, whole=True),
        "cost": MapOf(Number()),
        "best": ANYTHING,
        "pareto_front": ListOf(Number(low=0, whole=True)),
        "importances": MapOf(MapOf(Number())),
        "trials": ListOf(_TRIAL),
    },
    optional=frozenset({"n_trials"}),  # of sweeps that were written before, which all ran all of their trials
)


def source_of_sweep(folder: Path) -> Source:
    """Read the sweep in a folder, and the runs of its best configuration as far as they are there.

    Raises:
        RedwoodError: If `sweep.json` is damaged, or the plan of the best configuration cannot be read.
        DataError: If `sweep.json` is no JSON.
    """
    found = read_json(folder / FOUND)
    check(found, _SWEEP, str(folder / FOUND), f"write it again by {resume_call(folder)}")
    best = source_of_comparison(folder / BEST) if is_comparison(folder / BEST) else None
    return Source(
        folder,
        "sweep",
        _command_of(found),
        runs=best.runs if best else [],
        pairs=best.pairs if best else [(found["setting"], found["method"])],
        failures=best.failures if best else {},
        missing=best.missing if best else {},
        notes=best.notes if best else [],
        lead=_lead(found),
        tables=_tables(found),
    )


def _lead(found: Json) -> str:
    """The number of trials, the score that chose among them, and their cost."""
    states = Counter(trial["state"] for trial in found["trials"])
    counts = ", ".join(f"{count} {_STATES.get(state, state)}" for state, count in states.items())
    tuned_on = "all tasks" if found["protocol"] == "all_tasks" else f"the first {found['phases']} tasks, then kept"
    cost = found["cost"]
    spent = f"{duration(cost.get('seconds', 0.0))} and {scaled(cost.get('flops', 0.0), 'FLOPs')}"
    return (
        f"{len(found['trials'])} trials ({counts}) of {', '.join(found['space'])}. Options were chosen on {tuned_on}, "
        f"by the average {_measure(found).label} {found['scored_on']}; no trial was tested. All trials took {spent}."
    )


def _tables(found: Json) -> list[Table]:
    """The share of each objective that an option decides, and all trials, the best first."""
    options, measure = list(found["space"]), _measure(found)
    objectives = [name for name, shares in found["importances"].items() if shares]
    shares = [[found["importances"][name].get(option, 0.0) for name in objectives] for option in options]
    important = [
        [Cell(option), *(Cell(f"{share:.0%}", share) for share in row)]
        for option, row in zip(options, shares, strict=True)
    ]
    best = found["best"]["number"] if found["best"] else None
    sign = 1.0 if found["directions"][0] == "minimize" else -1.0
    trials = sorted(found["trials"], key=lambda trial: sign * trial["values"][0] if _score(trial) is not None else inf)
    lines = [
        [
            Cell(str(trial["number"]), trial["number"]),
            Cell(measure.show(score), score, "best" if trial["number"] == best else "")
            if (score := _score(trial)) is not None
            else Cell(f"{_STATES.get(trial['state'], trial['state'])} {trial.get('reason', '')}".strip()),
            *(_value(trial["parameters"].get(option)) for option in options),
            Cell(scaled(trial["flops"], ""), trial["flops"]),
            Cell(duration(trial["seconds"]), trial["seconds"]),
        ]
        for trial in trials
    ]
    table = Table("Trials, the best first", ["trial", measure.label, *options, "FLOPs", "time"], lines)
    headings = [f"decides of {'FLOPs' if name == 'flops' else 'score'}" for name in objectives]
    return [table, *([Table("Importance", ["option", *headings], important)] if objectives else [])]


def _measure(found: Json) -> Measure:
    return MEASURES.get(found["measure"], ACCURACY)


def _score(trial: Json) -> float | None:
    """The score of a complete trial."""
    value: float | None = trial["values"][0] if trial["state"] == "complete" and trial["values"] else None
    return value


def _value(value: object) -> Cell:
    if value is None:
        return Cell(NOT_DEFINED)
    return Cell(f"{value:.4g}", value) if isinstance(value, float) else Cell(str(value))


def _command_of(found: Json) -> str:
    """The command that starts the sweep again."""
    space = [
        f"{name}={','.join(map(str, values)) if isinstance(values, list) else values}"
        for name, values in found["space"].items()
    ]
    words = ["sweep", *space, "--setting", found["setting"], "--method", found["method"]]
    words += ["--trials", str(found.get("n_trials", len(found["trials"]))), "--protocol", found["protocol"]]
    words += ["--objectives", ",".join(found["objectives"])] if len(found["objectives"]) > 1 else []
    words += ["--seeds", str(found["seeds"])] if found["seeds"] > 1 else []
    words += [] if found["class_orders"] is None else ["--class_orders", str(found["class_orders"])]
    return command([*words, *found["arguments"]])
