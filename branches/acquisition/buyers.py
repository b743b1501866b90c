"""Purchases that look at sizes alone, and the base of methods that decide what to buy."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from redwood.branches.acquisition.offer import Offer
from redwood.branches.acquisition.setting import AcquisitionSetting
from redwood.core.checks import check_choice
from redwood.methods.base import Composition
from redwood.methods.lightning import LightningMethod


@dataclass
class Buyer(LightningMethod):
    """Train on all that was bought so far, and decide what to buy next."""

    target = AcquisitionSetting
    composition: ClassVar[Composition] = Composition.NEVER

    round_weights: str = "new"  # weights at the start of a round: new, or keep (the weights of the last round)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self, "round_weights", ("new", "keep"))

    @override
    def on_task_start(self, task_id: int | None) -> None:
        super().on_task_start(task_id)
        if self.round_weights == "new" and self.phase_count:
            self.reset_network()

    @abstractmethod
    def acquire(self, offer: Offer) -> list[int]:
        """The samples to buy of each slice (S,)."""


@dataclass
class Uniform(Buyer):
    """Spend the same on each slice, an equal part of the budget in each round: the baseline of Slice Tuner."""

    @override
    def acquire(self, offer: Offer) -> list[int]:
        return offer.equal_shares(offer.share)


@dataclass
class WaterFilling(Buyer):
    """Always buy of the smallest slice, an equal part of the budget in each round: the baseline of Slice Tuner."""

    @override
    def acquire(self, offer: Offer) -> list[int]:
        return offer.smallest_first(offer.share)
