"""What a run measures of each task: accuracy where classes are predicted, RMSE where numbers are."""

import math
from dataclasses import dataclass, fields
from typing import Any

from redwood.core.errors import DataError
from redwood.core.schema import ANYTHING, ListOf, MapOf, Number, Record, Spec, Text


@dataclass(frozen=True)
class Measure:
    """A measure, the names that follow from it, and how its values are shown.

    Attributes:
        key: In the names of metrics, files and logged values.
        name: In tables and pictures.
        factor: What a value is multiplied by to be shown.
        unit: Behind a value that is shown; empty if there is none.
        decimals: Digits that are shown after the point.
        samples: What a stream consists of.
        more: Metrics beside those that all measures have.
    """

    key: str
    name: str
    factor: float
    unit: str
    decimals: int
    samples: str = "samples"
    more: tuple[str, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the metrics of results, in the order of their files and tables."""
        return (
            f"average_{self.key}",
            f"average_incremental_{self.key}",
            "forgetting",
            "backward_transfer",
            "forward_transfer",
            f"online_{self.key}",
            *self.more,
        )

    @property
    def label(self) -> str:
        """The name with the unit, as in `accuracy (%)`."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    @property
    def title(self) -> str:
        """The name at the start of a sentence."""
        return self.name[0].upper() + self.name[1:]

    def show(self, value: float, *, signed: bool = False, decimals: int | None = None) -> str:
        """Write a value as it is shown, without its unit."""
        digits = self.decimals if decimals is None else decimals
        # Adding zero makes a rounded -0.0 a plain zero.
        return f"{round(self.factor * value, digits) + 0.0:{'+' if signed else ''}.{digits}f}"


ACCURACY = Measure("accuracy", "accuracy", factor=100.0, unit="%", decimals=1)
RMSE = Measure("rmse", "RMSE", factor=1.0, unit="", decimals=3)
RETURN = Measure("return", "return", factor=1.0, unit="", decimals=2, samples="steps", more=("normalised_return",))


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
