"""A method for labels that may be wrong: networks learn right labels first, so a small loss speaks for a label."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from redwood.core.checks import check_range
from redwood.methods import Composition, LightningMethod, Step
from redwood_crowd.setting import CrowdSetting


@dataclass
class SmallLoss(LightningMethod):
    """Learn the samples of each mini-batch that have the smallest losses, after Han et al., "Co-teaching" (2018).

    There are one network and one share here; the paper has two networks, which choose for each other.
    """

    target = CrowdSetting
    composition: ClassVar[Composition] = Composition.ANYWHERE

    keep: float = 0.7  # share of each mini-batch that is learned

    def __post_init__(self) -> None:
        """Check the options."""
        super().__post_init__()
        check_range(self, "keep", 0.01, 1)

    def losses(self, step: Step) -> Tensor:
        """The losses (B,), 0 where they are too large; the others are scaled up, so that the mean is theirs."""
        losses = super().losses(step)
        count = max(1, round(self.keep * len(losses)))
        kept = losses.detach() <= losses.detach().kthvalue(count).values
        return losses * kept * (len(losses) / kept.sum())
