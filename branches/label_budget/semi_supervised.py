"""Losses on samples that stay without labels: pseudo-labels, and the consistency of two views."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from gymnasium.spaces import Discrete
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from redwood.branches.label_budget.setting import LabelBudgetSetting
from redwood.core.checks import check_range
from redwood.core.errors import InvalidOptionError, NotApplicableError
from redwood.methods.base import Composition
from redwood.methods.lightning import LightningMethod
from redwood.methods.training.layers import evaluating
from redwood.methods.training.step import Step
from redwood.settings.supervised import SupervisedSetting

NOISE = 0.1  # standard deviation, as a share of the range of the samples


@dataclass
class SemiSupervised(LightningMethod):
    """Add losses of the samples that stay without labels; joined with others, as in `rehearsal+semi_supervised`.

    Pseudo-labels (Lee, 2013; with the threshold of FixMatch, Sohn et al., 2020, equation 4): the cross-entropy of a
    changed view of each sample with the class that is predicted for the sample itself. A sample has this loss only if
    that class has at least the probability `pseudo_labels`. The mean is over all u samples.

    Consistency (the Pi-model of Laine & Aila, 2017): the mean squared difference between the predicted probabilities of
    two changed views, times `consistency`.
    """

    target = LabelBudgetSetting
    composition: ClassVar[Composition] = Composition.ANYWHERE

    pseudo_labels: float = 0.95  # train on predicted classes of at least this probability (0: none)
    consistency: float = 0.0  # weight of the difference between two views of a sample (0: none)

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "pseudo_labels", 0, 1)
        check_range(self, "consistency", 0)
        if not self.pseudo_labels and not self.consistency:
            raise InvalidOptionError(
                "--pseudo_labels 0 leaves no loss of samples without labels; set it, or --consistency, such as 10."
            )

    @override
    def configure(self, setting: SupervisedSetting) -> None:
        if not isinstance(setting.action_space, Discrete):
            raise NotApplicableError(
                f"{self.reference()} goes by the probabilities of classes, but samples of {setting.dataset} do not "
                "have one class each; leave semi_supervised out."
            )
        super().configure(setting)
        self.unlabelled_seen = self.add_state("unlabelled_seen", 0)

    @override
    def loss(self, step: Step) -> Tensor:
        loss, x = super().loss(step), step.unlabelled
        if x is None:
            return loss
        self.unlabelled_seen += len(x)
        return loss + self.loss_without_labels(x)

    def loss_without_labels(self, x: Tensor) -> Tensor:
        """The loss (scalar) of samples (u, ...)."""
        scores, loss = self.logits(changed(self, x), None), torch.zeros((), device=x.device)
        if self.pseudo_labels:
            with torch.no_grad(), evaluating(self.network):
                probability, label = self.logits(x, None).softmax(1).max(1)
            sure = (probability >= self.pseudo_labels).float()
            loss = loss + (sure * F.cross_entropy(scores, label, reduction="none")).mean()
        if self.consistency:
            other = self.logits(changed(self, x), None)
            loss = loss + self.consistency * F.mse_loss(scores.softmax(1), other.softmax(1))
        return loss

    @override
    def never_acted(self) -> str | None:
        if not self.unlabelled_seen:
            return "No sample was without a label, so semi_supervised learned none; lower --label_budget."
        return super().never_acted()


def changed(method: LightningMethod, x: Tensor) -> Tensor:
    """A random view of samples (u, ...) in their dtype: by `--augmentation`, else with normal noise."""
    if method.augmentation != "none":
        return method.change_images(x)
    space = method.setting.observation_space
    low, high = (torch.as_tensor(bound, dtype=torch.float32, device=x.device) for bound in (space.low, space.high))
    noisy = x + NOISE * (high - low) * torch.randn(x.shape, device=x.device)
    noisy = noisy.maximum(low).minimum(high)
    return noisy if x.is_floating_point() else noisy.round().to(x.dtype)
