"""Experience replay with asymmetric cross-entropy (Caccia et al., 2022)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from redwood.methods.base import Composition
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.settings.batch import Batch


@dataclass
class ERACE(Rehearsal):
    """Keep new classes from pushing old ones away: incoming samples compete among the classes of their batch only.

    L = CE(incoming; classes of the incoming batch) + CE(replayed; all classes), from "New Insights on Reducing Abrupt
    Representation Change in Online Continual Learning", equation 2.
    """

    composition: ClassVar[Composition] = Composition.LAST

    def loss(self, batch: Batch) -> Tensor:
        """The mean of the incoming samples' losses, plus the mean of the replayed ones'."""
        losses = self.losses(batch)
        parts = [part.mean() for part in (losses[: self.n_incoming], losses[self.n_incoming :]) if len(part)]
        return torch.stack(parts).sum()

    def losses(self, batch: Batch) -> Tensor:
        """The cross-entropy of each sample, of incoming ones among the classes of the incoming batch."""
        n, scores = self.n_incoming, self.logits(batch.x, batch.task_id)
        absent = torch.ones(scores.shape[1], dtype=torch.bool, device=scores.device)
        absent[batch.y[:n]] = False
        incoming = scores[:n].masked_fill(absent, -torch.inf)
        losses = F.cross_entropy(torch.cat([incoming, scores[n:]]), batch.y, reduction="none")
        self.note_losses(losses)
        return losses
