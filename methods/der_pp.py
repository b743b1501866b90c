"""Dark experience replay with labels (Buzzega et al., 2020)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from redwood.methods.der import DER
from redwood.methods.rehearsal import Rows
from redwood.settings.base import Setting
from redwood.settings.batch import Batch
from redwood.settings.checks import check_range


@dataclass
class DERpp(DER):
    """Dark experience replay, and the labels of a second draw of samples.

    L = CE(incoming) + alpha * MSE(h(replayed), stored outputs) + beta * CE(replayed again) (equation 7). With beta = 1,
    one of the values that the authors found best, labels of old samples count as much as those of new ones. With less,
    one pass over a few dozen batches forgets old classes.
    """

    draws: ClassVar[int] = 2

    beta: float = 1.0  # weight of the labels of replayed samples

    def __post_init__(self) -> None:
        """Refuse options that are out of range."""
        super().__post_init__()
        check_range(self, "beta", 0)

    def configure(self, setting: Setting) -> None:
        """Build the network and an empty buffer."""
        super().configure(setting)
        self._again: Rows | None = None

    def augment(self, batch: Batch) -> Batch:
        """The incoming samples, those of the first draw, and those of the second."""
        augmented = super().augment(batch)
        self._again, _ = self.draw(batch)
        return augmented if self._again is None else self.mix(augmented, self._again)

    def note_losses(self, losses: Tensor) -> None:
        """Keep the losses of the second draw, too."""
        super().note_losses(losses)
        self._all_losses = losses

    def loss(self, batch: Batch) -> Tensor:
        """The loss of dark experience replay, and that of the second draw."""
        loss = super().loss(batch)
        if self._again is not None:
            loss = loss + self.beta * self._all_losses[-len(self._again["y"]) :].mean()
        return loss
