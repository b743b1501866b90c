"""The learning rate: within a phase by a schedule, from phase to phase by a training regime."""

import math
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import NamedTuple

from typing_extensions import override

from redwood.core.checks import check_positive, check_range
from redwood.core.errors import InvalidOptionError
from redwood.core.parts import Kind, Part

# Less than a step of any training; a sum of shares of a pass may miss a whole number by so much.
ROUNDING = 1e-9


class Moment(NamedTuple):
    """The place of a step in the training that a schedule covers.

    Attributes:
        share: Share of the training that is over when the step begins.
        begin: Passes over the data that are over when the step begins.
        end: Passes that are over once the step is made.
        total: Passes of the whole training.
    """

    share: float
    begin: float
    end: float
    total: float


@dataclass
class Schedule(Part):
    """A schedule of the learning rate within a training."""

    @abstractmethod
    def factor(self, at: Moment) -> float:
        """The factor of the learning rate of the coming step."""

    def check_length(self, total: float) -> None:
        """Raise `InvalidOptionError` if a training of `total` passes ends before the schedule has had its effect."""


LR_SCHEDULES = Kind("lr_schedule", Schedule, "redwood.lr_schedules")


def _check_over(option: str, last: float, total: float) -> None:
    if last >= total:
        raise InvalidOptionError(
            f"--{option} {last:g} is never over in a training of {total:g} passes over the data of its phase; give a "
            "smaller number, or more --passes."
        )


def _half_wave(share: float) -> float:
    return (1 + math.cos(math.pi * min(1.0, share))) / 2


@LR_SCHEDULES.register("constant")
@dataclass
class ConstantRate(Schedule):
    """The learning rate stays as it is."""

    @override
    def factor(self, at: Moment) -> float:
        return 1.0


@LR_SCHEDULES.register("cosine")
@dataclass
class Cosine(Schedule):
    """Half a cosine wave, from 1 to 0 (Loshchilov & Hutter, 2017, equation 5, without restarts)."""

    @override
    def factor(self, at: Moment) -> float:
        return _half_wave(at.share)


@LR_SCHEDULES.register("milestones")
@dataclass
class Milestones(Schedule):
    """A factor for each milestone that is over; as `torch.optim.lr_scheduler.MultiStepLR`."""

    milestones: list[float] = field(default_factory=list)  # passes over a phase's data after which lr falls
    gamma: float = 0.1  # factor of the learning rate at each of them

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "gamma")
        if not self.milestones:
            raise InvalidOptionError(
                "--lr_schedule milestones needs numbers of passes; give some, as in --milestones 49 63."
            )
        are_numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in self.milestones)
        if not are_numbers or self.milestones[0] <= 0 or sorted(set(self.milestones)) != list(self.milestones):
            shown = " ".join(map(str, self.milestones))
            raise InvalidOptionError(f"--milestones {shown} have to be numbers above 0 in ascending order.")

    @override
    def factor(self, at: Moment) -> float:
        return self.gamma ** sum(at.begin + ROUNDING >= milestone for milestone in self.milestones)

    @override
    def check_length(self, total: float) -> None:
        _check_over("milestones", self.milestones[-1], total)


@LR_SCHEDULES.register("warmup_cosine")
@dataclass
class WarmupCosine(Schedule):
    """In equal steps up to 1 (Goyal et al., 2017, section 2.2), then half a cosine wave."""

    warmup: float = 1.0  # passes over a phase's data in which the learning rate rises

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "warmup")

    @override
    def factor(self, at: Moment) -> float:
        if at.end < self.warmup - ROUNDING:
            return at.end / self.warmup
        return _half_wave(max(0.0, at.begin - self.warmup) / (at.total - self.warmup))

    @override
    def check_length(self, total: float) -> None:
        _check_over("warmup", self.warmup, total)


@dataclass
class Regime(Part):
    """A training regime: the learning rate of each phase."""

    @abstractmethod
    def rate(self, lr: float, phase: int) -> float:
        """The learning rate of a phase, counted from 0."""


REGIMES = Kind("regime", Regime, "redwood.regimes")


@REGIMES.register("constant")
@dataclass
class SameRate(Regime):
    """All phases have the same learning rate."""

    @override
    def rate(self, lr: float, phase: int) -> float:
        return lr


@REGIMES.register("decaying")
@dataclass
class DecayingRate(Regime):
    """The learning rate of phase t is max(lr * lr_decay^t, lr_floor), counted from t = 0 (Mirzadeh et al., 2020).

    Their script counts from 1, so that its first task is trained at lr * lr_decay. A floor above `lr` raises nothing.
    Where boundaries are not announced there is one phase, and so no decay.
    """

    lr_decay: float = 0.8  # factor of the learning rate from phase to phase
    lr_floor: float = 5e-5  # learning rate below which it does not fall

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "lr_floor", 0)
        if not 0 < self.lr_decay <= 1:
            raise InvalidOptionError(f"--lr_decay {self.lr_decay} has to be greater than 0 and at most 1.")

    @override
    def rate(self, lr: float, phase: int) -> float:
        return max(lr * self.lr_decay**phase, min(lr, self.lr_floor))
