"""What a file of results holds: the types and ranges of its entries."""

import math
from dataclasses import fields
from typing import Any

from redwood.settings.errors import DataError
from redwood.settings.measure import ACCURACY, RMSE, Measure
from redwood.settings.schema import ANYTHING, ListOf, MapOf, Number, Record, Spec, Text

_COUNT, _AMOUNT, _KNOWN_OR_NOT = Number(low=0, whole=True), Number(low=0), Number(optional=True)


def check_results(data: dict[str, Any], measure: Measure, cost: Any) -> None:
    """Raise `DataError` unless the entries of a file of results are of the types and in the ranges that they have.

    Args:
        data: What was read, with the right keys.
        measure: What the results measure.
        cost: The dataclass of the costs.
    """
    low, high = (0 if measure in (ACCURACY, RMSE) else -math.inf), (1 if measure is ACCURACY else math.inf)
    costs: dict[str, Spec] = {f.name: _COUNT if f.type in (int, "int") else _AMOUNT for f in fields(cost)}
    costs["rehearsal"] = MapOf(ANYTHING)
    entries = {
        "setting": Text(),
        "method": Text(),
        "dataset": Text(empty=True),
        "seed": _COUNT,
        f"{measure.key}_matrix": ListOf(ListOf(Number(low, high, optional=True), least=1)),
        f"validation_{measure.key}": ListOf(Number(low, high, optional=True)),
        f"online_{measure.key}": ListOf(ListOf(Number(), length=2)),
        "metrics": MapOf(_KNOWN_OR_NOT),
        "cost": Record(costs, optional=frozenset(costs)),
        "versions": MapOf(Text()),
        "config": MapOf(ANYTHING),
        "random_return": ListOf(Number(), optional=True),
        "phase_tasks": ListOf(_COUNT),
    }
    for name, spec in entries.items():
        if name in data:
            problem = spec.problem(data[name], name)
            if problem is not None:
                raise DataError(f"Results hold an entry that redwood does not write ({problem}); pass them as written.")
