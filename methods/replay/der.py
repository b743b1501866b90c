"""Dark experience replay (Buzzega et al., 2020, "Dark Experience for General Continual Learning")."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from redwood.core.checks import check_range
from redwood.methods.base import Composition
from redwood.methods.replay.rehearsal import Rehearsal, Rows
from redwood.settings.base import Setting
from redwood.settings.batch import Batch


@dataclass
class DER(Rehearsal):
    """Replay the network's own outputs: what it answered when a sample came in is what it should answer now.

    L = CE(incoming) + alpha * MSE(h(replayed), stored outputs) (equation 6). With an augmentation the stored outputs
    are those of the augmented sample, and what is stored is the sample before it, as in the authors' code.

    In one pass over a few dozen batches it does little more than fine-tuning: outputs are stored before the network has
    learned the class, and no label is replayed. `der_pp` replays labels, too.
    """

    composition: ClassVar[Composition] = Composition.LAST

    # The outputs of a first pass are those of a network that has learned little of the task.
    offers_repeats: ClassVar[bool] = True
    stores_outputs: ClassVar[bool] = True

    alpha: float = 0.5  # weight of the stored outputs

    def __post_init__(self) -> None:
        """Refuse options that are out of range."""
        super().__post_init__()
        check_range(self, "alpha", 0)

    def loss(self, batch: Batch) -> Tensor:
        """The loss of the incoming samples, and the distance of the replayed ones' outputs from the stored ones."""
        n = self.n_incoming
        outputs = self.network(batch.x)
        self._outputs = outputs[:n].detach()
        losses = self._cross_entropy(outputs, batch)
        self.note_losses(losses)
        loss = losses[:n].mean()
        if self.replayed is not None:
            stored = self.replayed["logits"]
            loss = loss + self.alpha * F.mse_loss(outputs[n : n + len(stored)], stored)
        return loss

    def _cross_entropy(self, outputs: Tensor, batch: Batch) -> Tensor:
        scores = outputs if batch.task_id is None else self.heads.mask(outputs, batch.task_id)
        return F.cross_entropy(scores, batch.y, reduction="none")

    def more_leaves(self) -> Rows:
        """The outputs (n, K) that the incoming samples had just now."""
        return {"logits": self._outputs}


@dataclass
class DERpp(DER):
    """Dark experience replay, and the labels of a second draw of samples.

    L = CE(incoming) + alpha * MSE(h(replayed), stored outputs) + beta * CE(replayed again) (equation 7). With beta = 1,
    one of the values that the authors found best, labels of old samples count as much as those of new ones. With less,
    one pass over a few dozen batches forgets old classes.
    """

    draws: ClassVar[int] = 2

    beta: float = 1.0  # weight of the labels of replayed samples

    def __post_init__(self) -> None:
        """Refuse options that are out of range."""
        super().__post_init__()
        check_range(self, "beta", 0)

    def configure(self, setting: Setting) -> None:
        """Build the network and an empty buffer."""
        super().configure(setting)
        self._again: Rows | None = None

    def augment(self, batch: Batch) -> Batch:
        """The incoming samples, those of the first draw, and those of the second."""
        augmented = super().augment(batch)
        self._again, _ = self.draw(batch)
        return augmented if self._again is None else self.mix(augmented, self._again)

    def note_losses(self, losses: Tensor) -> None:
        """Keep the losses of the second draw, too."""
        super().note_losses(losses)
        self._all_losses = losses

    def loss(self, batch: Batch) -> Tensor:
        """The loss of dark experience replay, and that of the second draw."""
        loss = super().loss(batch)
        if self._again is not None:
            loss = loss + self.beta * self._all_losses[-len(self._again["y"]) :].mean()
        return loss
