"""The two-side loss: classification and distillation (Wu et al., 2019, "Large Scale Incremental Learning")."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from redwood.methods.base import Composition
from redwood.methods.distillation.losses import old_share, two_side
from redwood.methods.distillation.teacher import Distilling, Teacher
from redwood.methods.training.step import Step
from redwood.settings.assumptions import Assumptions, Context, TaskIds


def new_classes_compete(promised: Assumptions) -> bool:
    """True if new classes compete with old ones at test; then the outputs of either kind can be too large."""
    return promised.context < Context.STATIONARY and promised.task_ids < TaskIds.TEST and not promised.shared_outputs


def two_side_loss(loss: Tensor, distance: Tensor | None, teacher: Teacher) -> Tensor:
    """(1 - lambda) * loss + lambda * distance, scalars; in the first task, the loss alone.

    Lambda is the number of classes that the teacher knows, divided by that number and the number of the task's.
    """
    if distance is None:
        return loss
    return two_side(loss, distance, old_share(int(teacher.known.sum()), int(teacher.current.sum())))


@dataclass
class TwoSide(Distilling):
    """Weigh the loss against the distance from the teacher, as `two_side_loss` does.

    As the share of old classes grows the labels count less and less. So larger steps are needed than for the loss
    alone: at the default rate a later task is hardly learned. On digits with blurry boundaries and 20 passes the
    method ends at 45 %. With `--momentum 0.9` it ends at 85 %, as fine-tuning does. By default, `bic` and `wa` have
    larger steps. In one pass with abrupt boundaries small steps are better. The method stores no samples.
    `two_side+rehearsal` is the paper's baseline without bias correction; `bic` adds that.
    """

    composition: ClassVar[Composition] = Composition.ANYWHERE

    @override
    def loss(self, step: Step) -> Tensor:
        return two_side_loss(super().loss(step), self.distance(step), self.teacher)
