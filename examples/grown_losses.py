"""A method that stores a tensor with each sample: replayed samples count more where their loss has grown.

Run it by naming the file: python cli.py --setting class_incremental --method examples/grown_losses.py:GrownLosses
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from redwood.methods import Rehearsal, Step


@dataclass
class GrownLosses(Rehearsal):
    """Experience replay with the weight 1 + `growth` * (loss now - loss when it was stored), at least 1."""

    stores_outputs: ClassVar[bool] = True  # `further_leaves` needs the network's outputs

    growth: float = 1.0  # how much the weight of a replayed sample grows with its loss

    def further_leaves(self, step: Step) -> dict[str, Tensor]:
        """The losses (b,) of the incoming samples; any tensors (b, ...) by names of your own can be stored."""
        return {"first_loss": super().losses(step)[: step.n_incoming].detach()}

    def losses(self, step: Step) -> Tensor:
        """The losses (B,): those of incoming samples first, then those of replayed ones."""
        losses = super().losses(step)
        if step.replayed is None:
            return losses
        incoming, replayed = losses[: step.n_incoming], losses[step.n_incoming :]
        grown = (replayed.detach() - step.replayed.rows["first_loss"]).clamp(min=0.0)
        return torch.cat([incoming, (1.0 + self.growth * grown) * replayed])
