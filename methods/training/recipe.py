"""Limits of gradients, and the check of `--patience` against a phase."""

from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from redwood.core.checks import check_positive
from redwood.core.errors import InvalidOptionError
from redwood.core.parts import Kind, Part
from redwood.settings.streams.phase import Phase


@dataclass
class Clipping(Part):
    """The limit of gradients before each step of the optimizer."""

    algorithm: ClassVar[str | None] = None  # as Lightning's `gradient_clip_algorithm`

    @property
    def limit(self) -> float | None:
        """The largest norm or value; None: there is no limit."""
        return None


CLIPPING = Kind("clipping", Clipping, "redwood.clipping")
CLIPPING.register("none")(Clipping)


@CLIPPING.register("norm")
@dataclass
class ClipNorm(Clipping):
    """A gradient with a larger norm is scaled down (Pascanu et al., 2013)."""

    algorithm: ClassVar[str | None] = "norm"

    clip_norm: float = 1.0  # the norm that a gradient may have

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "clip_norm")

    @property
    @override
    def limit(self) -> float:
        return self.clip_norm


@CLIPPING.register("value")
@dataclass
class ClipValue(Clipping):
    """Each entry of a gradient is limited by itself."""

    algorithm: ClassVar[str | None] = "value"

    clip_value: float = 1.0  # the absolute value that an entry may have

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "clip_value")

    @property
    @override
    def limit(self) -> float:
        return self.clip_value


def check_phase(patience: int, phase: Phase) -> None:
    """Raise `InvalidOptionError` if `--patience` is given, and there is nothing to watch in a phase."""
    if patience and phase.validation is None:
        raise InvalidOptionError(
            f"--patience {patience} watches samples that are held out from training, but phase {phase.index} holds out "
            "none; give --validation, such as 0.1, or leave it out."
        )
    if patience and phase.train.epochs == 1:
        raise InvalidOptionError(
            f"--patience {patience} counts passes over the data of a phase, but this setting goes through it once; "
            "leave it out, or use a setting that announces its tasks, with --passes."
        )
