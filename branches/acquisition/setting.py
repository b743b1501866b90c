"""The setting in which a method decides how many samples of each slice it buys."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from typing_extensions import override

from redwood.branches.acquisition.slices import SLICES
from redwood.branches.acquisition.stream import AcquisitionStream
from redwood.core.checks import check_positive, check_range
from redwood.core.errors import InvalidOptionError
from redwood.core.parts import Choice
from redwood.settings.assumptions import Assumption
from redwood.settings.eval_tasks import EVAL_TASKS
from redwood.settings.streams.supervised_stream import SupervisedStream
from redwood.settings.tree import TraditionalSetting

buys_data = Assumption("the method is asked after each phase which samples to buy for the next one")


@dataclass
class AcquisitionSetting(TraditionalSetting, buys_data=True):
    """After each phase, the method decides of which slice to buy how many more samples, within a budget.

    The tasks are the slices: the classes, or the groups of `--slices`. The first phase trains on the initial samples;
    each later phase trains on all that was bought so far. The other training samples are the pool: a method never sees
    them before it has bought them. A method decides by its hook `acquire`, see
    `redwood.branches.acquisition.offer.Buys`; for others, the same is spent on each slice. The problem is that of Tae &
    Whang, "Slice Tuner" (SIGMOD 2021), section 2.
    """

    hooks: ClassVar[tuple[str, ...]] = ("acquire",)
    stream_type: ClassVar[type[SupervisedStream]] = AcquisitionStream
    unused_options: ClassVar[Mapping[str, str]] = {"nb_tasks": "whose tasks are the slices"}

    stream: Choice = SLICES.chosen("slices")  # how the data is cut into tasks
    eval_tasks: Choice = EVAL_TASKS.chosen("all")  # tasks that are tested after each phase
    budget: float = 200.0  # total cost of all purchases
    costs: list[float] = field(default_factory=list)  # cost of a sample: one number, or one per slice (default: 1)
    initial: list[int] = field(default_factory=lambda: [20])  # samples at the start: of each slice, or one number each
    rounds: int = 3  # rounds of purchases; the setting trains one time more than that

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "budget")
        check_range(self, "rounds", 1, 1_000_000)
        for cost in self.costs:
            if not 0 < cost < math.inf:
                raise InvalidOptionError(f"--costs {cost:g} has to be greater than 0 and finite.")
        for number in self.initial:
            if number < 1:
                raise InvalidOptionError(f"--initial {number} has to be at least 1: the first phase trains on it.")
        if not self.initial:
            raise InvalidOptionError("--initial needs one number, or one for each slice.")

    @property
    @override
    def phases_accumulate(self) -> bool:
        return True
