"""What a run measures of each task: accuracy where classes are predicted, RMSE where numbers are."""

from dataclasses import dataclass


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
