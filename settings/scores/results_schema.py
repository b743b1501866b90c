"""Check the content of `results.json`."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields

from redwood.core.checks import Options
from redwood.core.errors import DataError
from redwood.core.schema import ANYTHING, ListOf, MapOf, Number, Record, Spec, Text
from redwood.settings.scores.measure import RMSE, Measure

COUNT, AMOUNT, _KNOWN_OR_NOT = Number(low=0, whole=True), Number(low=0), Number(optional=True)

# The scores by slice, in `results.json` and in checkpoints.
SLICES = Record(
    {
        "by": Text(),
        "names": ListOf(Text(empty=True), least=1),
        "samples": ListOf(COUNT, least=1),
        "accuracy": ListOf(Number(0, 1, optional=True), least=1),
        "loss": ListOf(Number(low=0, optional=True), least=1),
        "average_eer": AMOUNT,
        "largest_eer": AMOUNT,
        "eer_of": Text(),
    }
)

# The record of `redwood.engine.digests`, likewise.
_DIGEST = Text(pattern="[0-9a-f]{8}")
REPRODUCTION = Record(
    {
        "data": MapOf(ANYTHING),
        "sittings": ListOf(Record({"from_phase": COUNT, "environment": MapOf(ANYTHING)}), least=1),
        "start": MapOf(_DIGEST),
        "phases": ListOf(Record({"inputs": Text(empty=True), "state": MapOf(_DIGEST)})),
    }
)


def check_results(
    data: Mapping[str, object],
    measure: Measure,
    further: Mapping[str, Spec],
    cost: type[Options],
    uses: Sequence[str],
) -> None:
    """Raise `DataError` unless the entries of `results.json` have the right types and ranges.

    Args:
        data: The content of the file. Its keys have been checked.
        measure: The measure of the results.
        further: The specification of each entry of a subclass, by name.
        cost: The dataclass of the costs.
        uses: The uses of FLOPs.
    """
    low, high = (0 if measure.is_share or measure is RMSE else -math.inf), (1 if measure.is_share else math.inf)
    costs: dict[str, Spec] = {f.name: COUNT if f.type in (int, "int") else AMOUNT for f in fields(cost)}
    costs["rehearsal"] = MapOf(ANYTHING)
    costs["tuning"] = MapOf(AMOUNT)
    costs["flops"] = Record(dict.fromkeys(uses, ListOf(AMOUNT)))
    entries: dict[str, Spec] = {
        "setting": Text(),
        "method": Text(),
        "dataset": Text(empty=True),
        "seed": COUNT,
        f"{measure.key}_matrix": ListOf(ListOf(Number(low, high, optional=True), least=1)),
        f"validation_{measure.key}": ListOf(Number(low, high, optional=True)),
        f"validation_{measure.key}_matrix": ListOf(ListOf(Number(low, high, optional=True), least=1)),
        measure.online_key: ListOf(ListOf(Number(), length=2)),
        "metrics": MapOf(_KNOWN_OR_NOT),
        "cost": Record(costs, optional=frozenset(costs)),
        "versions": MapOf(Text()),
        "config": MapOf(ANYTHING),
        "phase_tasks": ListOf(COUNT),
        "phases_before": COUNT,
        "learning_curves": ListOf(ListOf(Number(0, 1, optional=True), least=1)),
        "slices": SLICES,
        "reproduction": REPRODUCTION,
        "class_names": ListOf(Text(), least=1),
        "task_names": ListOf(Text(), least=1),
        **further,
    }
    for name, spec in entries.items():
        if name in data:
            problem = spec.problem(data[name], name)
            if problem is not None:
                raise DataError(f"Results hold an entry that redwood does not write ({problem}); pass them as written.")
