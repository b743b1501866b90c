"""Weight aligning (Zhao et al., 2020, "Maintaining Discrimination and Fairness in Class Incremental Learning")."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from redwood.methods.base import Composition
from redwood.methods.distillation.teacher import Distilling
from redwood.methods.distillation.two_side import TwoSide, new_classes_compete, two_side_loss
from redwood.methods.networks.last_layer import output_layer
from redwood.methods.replay.exemplars import Exemplars
from redwood.methods.training.step import Step
from redwood.settings.supervised import SupervisedSetting


@torch.no_grad()
def align(weight: Tensor, old: Tensor, new: Tensor) -> None:
    """Scale the rows of new classes by one factor, so that their mean norm equals that of the old classes' rows.

    Args:
        weight: Weights (K, d) of the last layer; they are changed in place.
        old: Which classes are old ones (K,), bool.
        new: Which are new ones (K,), bool.
    """
    norms = weight.norm(dim=1)
    gamma = norms[old].mean() / norms[new].mean().clamp(min=torch.finfo(norms.dtype).tiny)
    weight[new] *= gamma


@dataclass
class WA(Distilling, Exemplars):
    """Rehearsal and distillation; after each task the new classes' outputs are made no larger than the old ones'.

    A network that sees new classes more often than old ones gives them longer weight vectors in its last layer, and so
    prefers them. After the task the new classes' vectors are scaled by gamma = mean norm of the old classes' / mean
    norm of the new ones' (section "weight aligning"). The aligned network is the next task's teacher. Biases stay as
    they are. As in the paper, the layer's weights are clipped at 0 before each step, so that a vector's norm shows the
    size of its output. Where new classes do not compete with old ones (ids at test, one phase, shared outputs) nothing
    is clipped or aligned.
    """

    composition: ClassVar[Composition] = Composition.ANYWHERE
    extends = (TwoSide,)

    lr: float = 0.2  # learning rate

    @override
    def configure(self, setting: SupervisedSetting) -> None:
        super().configure(setting)
        self._layer = output_layer(self.network, setting.observation_space, "wa aligns")
        self._competing = new_classes_compete(setting.assumptions)

    @override
    def augment(self, step: Step) -> None:
        self._clip()
        super().augment(step)

    @torch.no_grad()
    def _clip(self) -> None:
        if self._competing:
            self._layer.weight.clamp_(min=0)

    @override
    def loss(self, step: Step) -> Tensor:
        return two_side_loss(super().loss(step), self.distance(step), self.teacher)

    @override
    def on_task_end(self, task_id: int | None) -> None:
        """Align the weights; the aligned network is the next task's teacher."""
        self._clip()
        old = self.teacher.known.to(self.device)
        new = self.teacher.current.to(self.device) & ~old
        if self._competing and old.any() and new.any():
            align(self._layer.weight, old, new)
        super().on_task_end(task_id)
