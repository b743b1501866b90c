"""The measures of a run: accuracy of classes, mAP of label sets, RMSE of numbers, return of environments."""

import math
from dataclasses import dataclass

# Of label sets. Groups of labels: the least count in training, as a share of the most frequent label's (Kim et al.,
# 2020, "Imbalanced Continual Learning with Partitioning Reservoir Sampling").
LABEL_GROUPS = {"majority": 0.7, "moderate": 0.1, "minority": 0.0}
LABEL_SCORES = ("map", "cf1", "of1")  # mean average precision, per-class F1, overall F1
SUFFIXES = ("", *(f"_{group}" for group in LABEL_GROUPS))  # of scores of label sets: of all labels, and of each group


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
        online: Key of the measure while a run trains, if that is another one.
    """

    key: str
    name: str
    factor: float
    unit: str
    decimals: int
    samples: str = "samples"
    more: tuple[str, ...] = ()
    online: str = ""

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the metrics of results, in the order of their files and tables."""
        return (
            f"average_{self.key}",
            f"average_incremental_{self.key}",
            "forgetting",
            "backward_transfer",
            "forward_transfer",
            self.online_key,
            *self.more,
        )

    @property
    def online_key(self) -> str:
        """The name of the online metric."""
        return f"online_{self.online or self.key}"

    @property
    def is_share(self) -> bool:
        """True if values lie in [0, 1] and higher is better."""
        return self.unit == "%"

    @property
    def limits(self) -> tuple[float, float]:
        """The least and the largest value; infinite where there is none."""
        return (0.0, 1.0) if self.is_share else (0.0 if self.key == "rmse" else -math.inf, math.inf)

    @property
    def label(self) -> str:
        """The name with the unit, such as `accuracy (%)`."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    @property
    def online_label(self) -> str:
        """The label of the online score."""
        return self.label.replace(self.name, self.online.upper()) if self.online else self.label

    @property
    def title(self) -> str:
        """The name at the start of a title: a word gets a capital letter."""
        return self.name.capitalize() if self.name.islower() else self.name

    def show(self, value: float, *, signed: bool = False, decimals: int | None = None) -> str:
        """Format a value for display, without its unit."""
        digits = self.decimals if decimals is None else decimals
        # Adding 0.0 turns a rounded -0.0 into 0.0.
        return f"{round(self.factor * value, digits) + 0.0:{'+' if signed else ''}.{digits}f}"


ACCURACY = Measure("accuracy", "accuracy", factor=100.0, unit="%", decimals=1)
MAP = Measure(
    "map",
    "mAP",
    factor=100.0,
    unit="%",
    decimals=1,
    more=(
        *(f"{score}{suffix}" for score in LABEL_SCORES for suffix in SUFFIXES),
        *(f"forgetting_{score}{suffix}" for score in LABEL_SCORES for suffix in SUFFIXES if score != "map" or suffix),
    ),
    online="f1",
)
RMSE = Measure("rmse", "RMSE", factor=1.0, unit="", decimals=3)
RETURN = Measure("return", "return", factor=1.0, unit="", decimals=2, samples="steps", more=("normalised_return",))
SUCCESS = Measure("success", "success", factor=100.0, unit="%", decimals=1, samples="steps")  # beside returns
MEASURES = {measure.key: measure for measure in (ACCURACY, MAP, RMSE, RETURN)}
