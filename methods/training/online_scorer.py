"""Score the incoming samples on the predictions that the method makes before it learns from them."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from redwood.settings.batch import Batch

if TYPE_CHECKING:
    from redwood.methods.lightning import LightningMethod


class OnlineScorer:
    """Prequential scoring of a training step.

    The loss has to compute the scores of the incoming samples anyway. Where these are what `predict` would return (no
    augmentation, dropout or batch normalisation, which differ in training; `predict` not overridden), they are read off
    its forward pass instead of being computed a second time.
    """

    def __init__(self, method: "LightningMethod", network: nn.Module) -> None:
        self._method, self._network = method, network
        changing = any(isinstance(part, _BatchNorm | _DropoutNd) for part in network.modules())
        behaves_alike = not method.dropout and not changing
        sees_the_same = method.augmentation == "none"
        self._reuses_forward = behaves_alike and sees_the_same and method.predicts_by_network()

    def loss(self, batch: Batch, augmented: Batch) -> Tensor:
        """The method's loss on `augmented`, whose first samples are those of `batch`; these are scored on the way."""
        seen: list[Tensor] = []

        def keep(network: nn.Module, args: tuple[Tensor, ...], scores: Tensor) -> None:
            if not seen and args[0] is augmented.x:
                seen.append(scores.detach()[: len(batch.y)])

        if not self._reuses_forward:
            self._score(batch, self._method.predict(batch.x, self._shown(batch)))
            return self._method.loss(augmented)
        handle = self._network.register_forward_hook(keep)
        try:
            loss = self._method.loss(augmented)
        finally:
            handle.remove()
        if seen:
            ids = self._shown(batch)
            self._score(batch, seen[0] if ids is None else self._method.heads.mask(seen[0], ids))
        else:
            self._score(batch, self._method.predict(batch.x, self._shown(batch)))
        return loss

    def _shown(self, batch: Batch) -> Tensor | None:
        """Ids as at test: predictions have to be made on what a test would show."""
        return batch.task_id if self._method.heads.active else None

    def _score(self, batch: Batch, answer: Tensor) -> None:
        with torch.no_grad():
            if batch.y.is_floating_point():
                predictions = answer.view_as(batch.y)
            else:
                predictions = answer.argmax(1) if answer.dim() == 2 else answer
            self._method.phase.score(predictions, batch)
