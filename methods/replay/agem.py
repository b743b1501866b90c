"""Averaged gradient episodic memory (Chaudhry et al., 2019, "Efficient Lifelong Learning with A-GEM")."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from redwood.core.errors import InvalidOptionError
from redwood.core.workers import sum_over_workers, world_size
from redwood.methods.base import Composition
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.methods.training.heads import mean_loss
from redwood.methods.training.layers import evaluating
from redwood.methods.training.step import Replayed, Step
from redwood.settings.supervised import SupervisedSetting


def project(gradient: Tensor, reference: Tensor) -> Tensor:
    """The gradient (p,) nearest to `gradient` that does not raise the loss behind `reference` (p,) (equation 11).

    It looks at no value on the host, so that nothing waits for a GPU.
    """
    overlap = (gradient @ reference).clamp(max=0)
    return gradient - overlap / (reference @ reference).clamp(min=torch.finfo(reference.dtype).tiny) * reference


@dataclass
class AGEM(Rehearsal):
    """Train on incoming samples only, but never against the gradient of samples drawn from the buffer.

    The buffer is a reservoir of the stream, so that no task boundary is needed. The samples of the reference gradient
    are as many as the incoming ones. The paper draws 256 or 1,300 samples: `--replay_ratio 8` draws 256 with batches
    of 32.
    """

    composition: ClassVar[Composition] = Composition.LAST
    multi_label: ClassVar[bool] = True
    unused_options: ClassVar[Mapping[str, str]] = {
        "accumulate_grad_batches": "which projects the gradient of each batch"
    }

    @override
    def configure(self, setting: SupervisedSetting) -> None:
        super().configure(setting)
        if type(self).join is not AGEM.join:
            raise InvalidOptionError(
                f"{type(self).__name__}.join changes nothing, as agem trains on no replayed sample; "
                "override reference_loss, which weighs them."
            )

    @override
    def join(self, step: Step) -> None:
        """Train on the incoming samples alone."""

    @override
    def after_backward(self, step: Step) -> None:
        """Project the gradients of all parameters."""
        super().after_backward(step)
        if step.replayed is None and world_size() == 1:
            return
        parameters = [p for p in self.network.parameters() if p.grad is not None]
        reference = self._reference(parameters, step.replayed)
        if world_size() > 1:
            reference = sum_over_workers(reference.cpu()).to(reference.device) / world_size()
        projected = project(torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]), reference)
        for p, part in zip(parameters, projected.split([p.numel() for p in parameters]), strict=True):
            p.grad = part.view_as(p)

    def _reference(self, parameters: Sequence[nn.Parameter], replayed: Replayed | None) -> Tensor:
        """The gradient (p,) of the replayed samples' loss; zero without any, as other workers may have some."""
        if replayed is None:
            return torch.cat([torch.zeros_like(p).flatten() for p in parameters])
        with self.module.trainer.precision_plugin.forward_context():
            loss = self.reference_loss(replayed)
        parts = torch.autograd.grad(loss, parameters, materialize_grads=True)
        return torch.cat([part.flatten() for part in parts])

    def reference_loss(self, replayed: Replayed) -> Tensor:
        """The loss (scalar) of the samples drawn from the buffer, in evaluation mode: a few set no statistics."""
        rows = replayed.rows
        x = self.change_images(rows["x"])
        with evaluating(self.network):
            return mean_loss(self.logits(x, rows.get("task_id")), rows["y"])
