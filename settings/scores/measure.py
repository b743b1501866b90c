"""The measures of a run: accuracy where classes are predicted, RMSE where numbers are, return of environments."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """A measure, the names of its metrics, and the format of its values.

    Attributes:
        key: Part of the names of metrics, files and logged values.
        name: Name in tables and pictures.
        factor: Factor from a value to the displayed number.
        unit: Unit of the displayed number; empty if there is none.
        decimals: Digits after the point.
        samples: Name of the entries of a stream.
        more: Metrics that only this measure has.
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
        """The name with the unit, such as `accuracy (%)`."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    @property
    def title(self) -> str:
        """The name with a capital letter."""
        return self.name[0].upper() + self.name[1:]

    def show(self, value: float, *, signed: bool = False, decimals: int | None = None) -> str:
        """Format a value for display, without its unit."""
        digits = self.decimals if decimals is None else decimals
        # Adding 0.0 turns a rounded -0.0 into 0.0.
        return f"{round(self.factor * value, digits) + 0.0:{'+' if signed else ''}.{digits}f}"


ACCURACY = Measure("accuracy", "accuracy", factor=100.0, unit="%", decimals=1)
RMSE = Measure("rmse", "RMSE", factor=1.0, unit="", decimals=3)
RETURN = Measure("return", "return", factor=1.0, unit="", decimals=2, samples="steps", more=("normalised_return",))
