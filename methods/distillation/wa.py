"""Weight aligning (Zhao et al., 2020, "Maintaining Discrimination and Fairness in Class Incremental Learning")."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from redwood.methods.base import Composition
from redwood.methods.distillation.two_side import TwoSide
from redwood.methods.networks.last_layer import output_layer
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.settings.base import Setting
from redwood.settings.batch import Batch


@torch.no_grad()
def align(weight: Tensor, old: Tensor, new: Tensor) -> None:
    """Scale the rows of new classes, all by one factor, so that their mean norm is that of the old classes' rows.

    Args:
        weight: Weights (K, d) of the last layer; they are changed in place.
        old: Which classes are old ones (K,), bool.
        new: Which are new ones (K,), bool.
    """
    norms = weight.norm(dim=1)
    gamma = norms[old].mean() / norms[new].mean().clamp(min=torch.finfo(norms.dtype).tiny)
    weight[new] *= gamma


@dataclass
class WA(TwoSide, Rehearsal):
    """Rehearsal and distillation; after each task the new classes' outputs are made no larger than the old ones'.

    A network that sees new classes more often than old ones gives them longer weight vectors in its last layer, and so
    prefers them. After the task these are scaled by gamma = mean norm of the old classes' / mean norm of the new ones'
    (section "weight aligning"), and the aligned network is the next task's teacher. Biases stay as they are. For a norm
    to tell how large an output is, the layer's weights are clipped at 0 before each step, as the paper has it. Where
    new classes do not compete with old ones (ids at test, one phase, shared outputs) nothing is clipped or aligned.
    """

    composition: ClassVar[Composition] = Composition.ANYWHERE

    lr: float = 0.2  # learning rate

    def configure(self, setting: Setting) -> None:
        """Build the network and an empty buffer.

        Raises:
            InvalidOptionError: If the network does not end in a linear layer.
        """
        super().configure(setting)
        self._layer = output_layer(self.network, setting.observation_space, "wa aligns")  # type: ignore[arg-type]

    def augment(self, batch: Batch) -> Batch:
        """Clip the weights of the last layer; what to train on is up to rehearsal."""
        self._clip()
        return super().augment(batch)

    @torch.no_grad()
    def _clip(self) -> None:
        if self.competing:
            self._layer.weight.clamp_(min=0)

    def on_task_end(self, task_id: int | None) -> None:
        """Align the weights, and keep the network as the next task's teacher."""
        self._clip()
        old = self.teacher.known.to(self.device)
        new = self.current.to(self.device) & ~old
        if self.competing and old.any() and new.any():
            align(self._layer.weight, old, new)
        super().on_task_end(task_id)
