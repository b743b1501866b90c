"""Sweeps in a report: the trials in `sweep.json`, and the runs of the best configuration."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from redwood.core.files import read_json
from redwood.core.schema import ANYTHING, ListOf, MapOf, Number, Record, Text, check
from redwood.experiments.comparisons.page import source_of_comparison
from redwood.experiments.launchers.plan import FOUND, is_comparison
from redwood.experiments.report.source import Source, command
from redwood.experiments.sweeps.plan import BEST
from redwood.settings.scores.measure import ACCURACY, MEASURES

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
    check(found, _SWEEP, str(folder / FOUND), f"write it again by resume {folder}")
    best = source_of_comparison(folder / BEST) if is_comparison(folder / BEST) else None
    return Source(
        folder,
        "sweep",
        _command_of(found),
        runs=best.runs if best else [],
        pairs=best.pairs if best else [(found["setting"], found["method"])],
        failures=best.failures if best else {},
        notes=best.notes if best else [],
        sweep=_content(found),
    )


def _content(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a sweep's page."""
    measure = MEASURES.get(found["measure"], ACCURACY)
    kept = (
        "protocol",
        "phases",
        "objectives",
        "directions",
        "scored_on",
        "space",
        "cost",
        "pareto_front",
        "importances",
    )
    trials = ("number", "parameters", "state", "values", "seconds", "flops")
    return {
        **{name: found[name] for name in kept},
        "pair": f"{found['setting']} / {found['method']}",
        "best": found["best"]["number"] if found["best"] else None,
        "measure": {"label": measure.label, "factor": measure.factor, "decimals": measure.decimals},
        "trials": [
            {name: trial[name] for name in trials} | {"reason": trial.get("reason", "")} for trial in found["trials"]
        ],
    }


def _command_of(found: Mapping[str, Any]) -> str:
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
