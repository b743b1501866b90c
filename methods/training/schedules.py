"""Learning-rate schedules: the factor of the learning rate at a point of the training, counted in passes."""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from redwood.core.checks import check_choice, check_positive, check_range
from redwood.core.errors import InvalidOptionError

# Less than a step of any training; a sum of shares of a pass may miss a whole number by so much.
ROUNDING = 1e-9


class ScheduledMethod(Protocol):
    """What decides about the schedule; see `LightningMethod`."""

    lr_schedule: str
    milestones: list[float]
    gamma: float
    warmup: float


class Moment(NamedTuple):
    """Where a step lies in the training that a schedule extends over.

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


def constant(method: ScheduledMethod, at: Moment) -> float:
    """The learning rate stays as it is."""
    return 1.0


def cosine(method: ScheduledMethod, at: Moment) -> float:
    """Half a cosine wave, from 1 to 0 (Loshchilov & Hutter, 2017, equation 5, without restarts)."""
    return _half_wave(at.share)


def milestones(method: ScheduledMethod, at: Moment) -> float:
    """The factor `gamma` for each milestone that is over; as `torch.optim.lr_scheduler.MultiStepLR`."""
    return method.gamma ** sum(at.begin + ROUNDING >= milestone for milestone in method.milestones)


def warmup_cosine(method: ScheduledMethod, at: Moment) -> float:
    """In equal steps up to 1 within `warmup` passes (Goyal et al., 2017, section 2.2), then half a cosine wave."""
    if at.end < method.warmup - ROUNDING:
        return at.end / method.warmup
    return _half_wave(max(0.0, at.begin - method.warmup) / (at.total - method.warmup))


def _half_wave(share: float) -> float:
    return (1 + math.cos(math.pi * min(1.0, share))) / 2


SCHEDULES: Mapping[str, Callable[[ScheduledMethod, Moment], float]] = {
    "constant": constant,
    "cosine": cosine,
    "milestones": milestones,
    "warmup_cosine": warmup_cosine,
}
# The options of single schedules, and the values that switch them off.
OWN_OPTIONS: Mapping[str, tuple[str, object]] = {
    "milestones": ("milestones", []),
    "gamma": ("milestones", 0.1),
    "warmup": ("warmup_cosine", 0.0),
}


def check_schedule(method: ScheduledMethod) -> None:
    """Raise `InvalidOptionError` if the schedule is unknown, lacks an option, or an option is of another schedule."""
    check_choice(method, "lr_schedule", SCHEDULES)
    check_positive(method, "gamma")
    check_range(method, "warmup", 0)
    for name, (schedule, off) in OWN_OPTIONS.items():
        value = getattr(method, name)
        if value != off and method.lr_schedule != schedule:
            shown = " ".join(map(str, value)) if isinstance(value, list) else value
            raise InvalidOptionError(
                f"--{name} {shown} has no effect with --lr_schedule {method.lr_schedule}; give --lr_schedule "
                f"{schedule}, or leave --{name} out."
            )
    if method.lr_schedule == "milestones":
        _check_milestones(method.milestones)
    if method.lr_schedule == "warmup_cosine" and not method.warmup:
        raise InvalidOptionError("--lr_schedule warmup_cosine needs a number of passes; give --warmup, or use cosine.")


def _check_milestones(values: list[float]) -> None:
    if not values:
        raise InvalidOptionError(
            "--lr_schedule milestones needs numbers of passes; give some, as in --milestones 49 63."
        )
    are_numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    if not are_numbers or values[0] <= 0 or sorted(set(values)) != list(values):
        shown = " ".join(map(str, values))
        raise InvalidOptionError(f"--milestones {shown} have to be numbers above 0 in ascending order.")


def check_length(method: ScheduledMethod, total: float) -> None:
    """Raise `InvalidOptionError` if a training of `total` passes ends before the schedule has had its effect."""
    last, option = (method.milestones[-1], "milestones") if method.milestones else (method.warmup, "warmup")
    if last >= total:
        raise InvalidOptionError(
            f"--{option} {last:g} is never over in a training of {total:g} passes over the data of its phase; give a "
            "smaller number, or more --passes."
        )
