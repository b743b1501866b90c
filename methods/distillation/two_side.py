"""The two-side loss: classification and distillation (Wu et al., 2019, "Large Scale Incremental Learning")."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from redwood.methods.base import Composition
from redwood.methods.distillation.losses import old_share, two_side
from redwood.methods.distillation.teacher import SoftmaxDistilling
from redwood.settings.assumptions import Context, TaskIds
from redwood.settings.base import Setting
from redwood.settings.batch import Batch


@dataclass
class TwoSide(SoftmaxDistilling):
    """Weigh the loss against the distance from the teacher: (1 - lambda) * loss + lambda * distance.

    Lambda is the number of classes that the teacher knows, divided by that number and the number of the task's. As it
    grows the labels count less and less, so that larger steps are needed than for the loss alone.

    It stores no samples. `two_side+rehearsal` is the paper's baseline without bias correction; `bic` adds that.

    Attributes that a subclass may use:
        competing: Whether new classes compete with old ones, so that the outputs of one kind can be too large.
    """

    composition: ClassVar[Composition] = Composition.ANYWHERE

    def configure(self, setting: Setting) -> None:
        """Build the network."""
        super().configure(setting)
        promised = setting.assumptions
        self.competing = (
            promised.context < Context.STATIONARY and promised.task_ids < TaskIds.TEST and not promised.shared_outputs
        )

    def loss(self, batch: Batch) -> Tensor:
        """Both sides; in the first task, the loss alone."""
        loss, distance = self.loss_and_distance(batch, super().loss)
        if distance is None:
            return loss
        return two_side(loss, distance, old_share(int(self.teacher.known.sum()), int(self.current.sum())))
