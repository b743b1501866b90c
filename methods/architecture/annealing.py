"""How gates of HAT get steeper in training, as a callback of Lightning."""

from typing import Any

import torch
from pytorch_lightning import Callback
from torch import Tensor

from redwood.methods.networks.row import GatedNetwork

# Bounds of s * e and of e in the authors' code: beyond them, cosh overflows and gates no longer learn.
MAX_EXPONENT = 50.0
MAX_EMBEDDING = 6.0


def compensation(embedding: Tensor, scale: float, max_scale: float) -> Tensor:
    """What the gradient of `embedding` is multiplied by: s_max (cosh(s e) + 1) / (s (cosh(e) + 1)), section 2.5.

    The steepness s of the gates drops out of the gradient: what is left is s_max times that of sigma(e).
    """
    steep = torch.cosh((scale * embedding).clamp(-MAX_EXPONENT, MAX_EXPONENT)) + 1
    return max_scale / scale * steep / (torch.cosh(embedding) + 1)


class Annealing(Callback):
    """Makes the gates of a network steeper within each epoch, and compensates the gradients for it."""

    def __init__(self, network: GatedNetwork, max_scale: float) -> None:
        self._network, self._max_scale = network, max_scale

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Set s between 1 / s_max and s_max; in the only batch of an epoch it is s_max."""
        done = batch_idx / (trainer.num_training_batches - 1) if trainer.num_training_batches > 1 else 1.0
        low = 1 / self._max_scale
        self._network.scale = low + (self._max_scale - low) * done

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Compensate the gradients of the embeddings."""
        for embedding in self._network.embeddings:
            assert embedding.grad is not None
            embedding.grad *= compensation(embedding.detach(), self._network.scale, self._max_scale)

    @torch.no_grad()
    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Keep the embeddings within their bounds."""
        for embedding in self._network.embeddings:
            embedding.clamp_(-MAX_EMBEDDING, MAX_EMBEDDING)
