"""Learning without forgetting (Li and Hoiem, 2016)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from redwood.core.checks import check_range
from redwood.methods.base import Composition
from redwood.methods.distillation.teacher import Distilling
from redwood.methods.training.step import Step


@dataclass
class LwF(Distilling):
    """Learn the new task while the outputs of the old ones stay as they were, as far as the new samples show them.

    L = CE + alpha * sum over old tasks of T^2 * KL(old outputs || outputs), both softened by the temperature T (section
    3; the paper's cross-entropy with the old outputs has the gradient of the divergence, without the factor T^2). Where
    ids are hidden at test, all old classes share one softmax. Where all tasks share their outputs, all of these are old
    ones. Joined with a method that replays samples, it distils on these as well.
    """

    composition: ClassVar[Composition] = Composition.ANYWHERE

    lwf_alpha: float = 1.0  # weight of the distance from the old outputs

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "lwf_alpha", 0)

    @override
    def loss(self, step: Step) -> Tensor:
        loss, distance = super().loss(step), self.distance(step)
        return loss if distance is None else loss + self.lwf_alpha * distance
