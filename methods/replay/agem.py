"""Averaged gradient episodic memory (Chaudhry et al., 2019, "Efficient Lifelong Learning with A-GEM")."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor
from torch.nn import functional as F

from redwood.methods.base import Composition
from redwood.methods.replay.rehearsal import Rehearsal, Rows
from redwood.methods.training.augmentations import AUGMENTATIONS
from redwood.methods.training.layers import evaluating
from redwood.settings.batch import Batch

if TYPE_CHECKING:
    from pytorch_lightning import Callback


@dataclass
class AGEM(Rehearsal):
    """Train on incoming samples only, but never against the gradient of samples drawn from the buffer.

    The buffer is a reservoir of the stream, so that no task boundary is needed.
    """

    composition: ClassVar[Composition] = Composition.LAST

    def mix(self, batch: Batch, replayed: Rows) -> Batch:
        """The incoming samples alone."""
        return batch

    def reference_loss(self, replayed: Rows) -> Tensor:
        """The loss (scalar) of the samples drawn from the buffer, in evaluation mode: a few set no statistics."""
        x = AUGMENTATIONS[self.augmentation](replayed["x"])
        with evaluating(self.network):
            return F.cross_entropy(self.logits(x, replayed.get("task_id")), replayed["y"])

    def callbacks(self) -> "Sequence[Callback]":
        """The projection, too."""
        from redwood.methods.replay.gradient_projection import GradientProjection

        return (*super().callbacks(), GradientProjection(self))
