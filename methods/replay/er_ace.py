"""Experience replay with asymmetric cross-entropy (Caccia et al., 2022)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from redwood.methods.base import Composition
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.methods.training.step import Step


@dataclass
class ERACE(Rehearsal):
    """Keep new classes from pushing old ones away: incoming samples compete among the classes of their batch only.

    L = CE(incoming; classes of the incoming batch) + CE(replayed; all classes), from "New Insights on Reducing Abrupt
    Representation Change in Online Continual Learning", equation 2.
    """

    composition: ClassVar[Composition] = Composition.LAST

    @override
    def loss(self, step: Step) -> Tensor:
        losses = step.weigh(self.losses(step))
        parts = [part.mean() for part in (losses[: step.n_incoming], losses[step.n_incoming :]) if len(part)]
        return torch.stack(parts).sum()

    @override
    def losses(self, step: Step) -> Tensor:
        """The cross-entropy of each sample (B,), of incoming ones among the classes of the incoming batch."""
        n, scores, y = step.n_incoming, self.scores(step), step.batch.y
        absent = torch.ones(scores.shape[1], dtype=torch.bool, device=scores.device)
        absent[y[:n]] = False
        incoming = scores[:n].masked_fill(absent, -torch.inf)
        losses = F.cross_entropy(torch.cat([incoming, scores[n:]]), y, reduction="none")
        step.losses = losses.detach()
        return losses
