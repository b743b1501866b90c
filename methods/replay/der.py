"""Dark experience replay (Buzzega et al., 2020, "Dark Experience for General Continual Learning")."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from redwood.core.checks import check_range
from redwood.methods.base import Composition
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.methods.training.step import Rows, Step


def distance_to_stored(outputs: Tensor, step: Step) -> Tensor:
    """MSE(h(replayed), stored outputs), a scalar mean over the samples of the first draw times their weights.

    Args:
        outputs: Of the step's batch (B, K).
        step: With samples replayed.
    """
    assert step.replayed is not None
    found, stored = outputs[step.first_draw], step.replayed.rows["logits"][: step.replayed.n_first]
    if step.weights is None:
        return F.mse_loss(found, stored)
    return (step.weights[step.first_draw] * F.mse_loss(found, stored, reduction="none").mean(1)).mean()


def outputs_to_store(outputs: Tensor) -> Tensor:
    """Outputs (b, K) without a gradient, float32 at least: those of mixed precision differ by less than it can tell."""
    return outputs.detach().to(torch.promote_types(outputs.dtype, torch.float32))


@dataclass
class DER(Rehearsal):
    """Keep the outputs for stored samples close to what they were when the samples were stored.

    L = CE(incoming) + alpha * MSE(h(replayed), stored outputs) (equation 6). With an augmentation the stored outputs
    are those of the augmented sample. The sample is stored before it is augmented, as in the authors' code.

    In one pass over a few dozen batches it is hardly better than fine-tuning. Outputs are stored before the network has
    learned the class, and no label is replayed. `der_pp` replays labels, too.
    """

    composition: ClassVar[Composition] = Composition.LAST
    multi_label: ClassVar[bool] = True

    # In a first pass, the network has learned little of the task, and so have its outputs.
    adds_repeats: ClassVar[bool] = True
    stores_outputs: ClassVar[bool] = True

    alpha: float = 0.5  # weight of the stored outputs

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "alpha", 0)

    @override
    def loss(self, step: Step) -> Tensor:
        loss = step.weigh(self.losses(step))[: step.n_incoming].mean()
        if step.replayed is not None:
            loss = loss + self.alpha * distance_to_stored(self.outputs(step), step)
        return loss

    @override
    def further_leaves(self, step: Step) -> Rows:
        """The outputs (b, K) that the incoming samples had in this step."""
        return {"logits": outputs_to_store(self.outputs(step)[: step.n_incoming])}


@dataclass
class DERpp(Rehearsal):
    """Dark experience replay, and the labels of a second draw of samples.

    L = CE(incoming) + alpha * MSE(h(replayed), stored outputs) + beta * CE(replayed again) (equation 7). With beta = 1,
    one of the values that the authors found best, labels of old samples count as much as those of new ones. With less,
    one pass over a few dozen batches forgets old classes.
    """

    composition: ClassVar[Composition] = Composition.LAST
    multi_label: ClassVar[bool] = True
    adds_repeats: ClassVar[bool] = True
    stores_outputs: ClassVar[bool] = True
    draws: ClassVar[int] = 2

    alpha: float = 0.5  # weight of the stored outputs
    beta: float = 1.0  # weight of the labels of replayed samples

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "alpha", 0)
        check_range(self, "beta", 0)

    @override
    def loss(self, step: Step) -> Tensor:
        losses = step.weigh(self.losses(step))
        loss, again = losses[: step.n_incoming].mean(), losses[step.first_draw.stop :]
        if step.replayed is not None:
            loss = loss + self.alpha * distance_to_stored(self.outputs(step), step)
        if len(again):
            loss = loss + self.beta * again.mean()
        return loss

    @override
    def further_leaves(self, step: Step) -> Rows:
        """The outputs (b, K) that the incoming samples had in this step."""
        return {"logits": outputs_to_store(self.outputs(step)[: step.n_incoming])}
