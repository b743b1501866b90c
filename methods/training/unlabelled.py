"""Losses on samples that stay without labels, where a setting gives labels on request."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from redwood.core.checks import check_range
from redwood.core.errors import InvalidOptionError
from redwood.core.parts import Kind
from redwood.methods.training.layers import evaluating
from redwood.methods.training.queries import LabelPart, OnRequest

if TYPE_CHECKING:
    from redwood.methods.lightning import LightningMethod

NOISE = 0.1  # standard deviation, as a share of the range of the samples


@dataclass
class Unlabelled(LabelPart):
    """What is learned of samples that stay without labels."""

    @abstractmethod
    def loss(self, method: "LightningMethod", x: Tensor) -> Tensor | float:
        """The loss (scalar) of samples (u, ...) without labels."""


UNLABELLED = Kind("unlabelled", Unlabelled, "redwood.unlabelled")


@UNLABELLED.register("ignored")
@dataclass
class Ignored(Unlabelled):
    """Samples that stay without labels are not learned."""

    @override
    def loss(self, method: "LightningMethod", x: Tensor) -> float:
        return 0.0


@UNLABELLED.register("learned")
@dataclass
class Learned(OnRequest, Unlabelled):
    """Samples that stay without labels are learned by one or two losses.

    Pseudo-labels (Lee, 2013; with the threshold of FixMatch, Sohn et al., 2020, equation 4): the cross-entropy of a
    changed view of each sample with the class that is predicted for the sample itself, if that class has at least the
    probability `pseudo_labels`; a mean over all u samples.

    Consistency (the Pi-model of Laine & Aila, 2017): the mean squared difference between the predicted probabilities of
    two changed views, times `consistency`.
    """

    goes_by_classes: ClassVar[bool] = True

    pseudo_labels: float = 0.0  # learn classes predicted with so high a probability (0: none)
    consistency: float = 0.0  # weight of the difference between two views of a sample (0: none)

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "pseudo_labels", 0, 1)
        check_range(self, "consistency", 0)
        if not self.pseudo_labels and not self.consistency:
            raise InvalidOptionError(
                "--unlabelled learned needs a loss; give --pseudo_labels, such as 0.95, or --consistency, such as 10."
            )

    @override
    def loss(self, method: "LightningMethod", x: Tensor) -> Tensor:
        scores, loss = method.logits(changed(method, x), None), torch.zeros((), device=x.device)
        if self.pseudo_labels:
            with torch.no_grad(), evaluating(method.network):
                probability, label = method.logits(x, None).softmax(1).max(1)
            sure = (probability >= self.pseudo_labels).float()
            loss = loss + (sure * F.cross_entropy(scores, label, reduction="none")).mean()
        if self.consistency:
            other = method.logits(changed(method, x), None)
            loss = loss + self.consistency * F.mse_loss(scores.softmax(1), other.softmax(1))
        return loss


def refuse_unlabelled_losses(method: "LightningMethod", reason: str) -> None:
    """Raise `InvalidOptionError` if a loss on samples without labels is asked for, and the method has none to learn."""
    if not isinstance(method.unlabelled, Ignored):
        raise InvalidOptionError(
            f"--unlabelled {UNLABELLED.text_of(method.unlabelled)} does not go with {method.reference()}, {reason}; "
            "leave it out."
        )


def changed(method: "LightningMethod", x: Tensor) -> Tensor:
    """A random view of samples (u, ...) in their dtype: by `--augmentation`, else with normal noise."""
    if method.augmentation != "none":
        return method.change_images(x)
    space = method.setting.observation_space
    low, high = (torch.as_tensor(bound, dtype=torch.float32, device=x.device) for bound in (space.low, space.high))
    noisy = x + NOISE * (high - low) * torch.randn(x.shape, device=x.device)
    noisy = noisy.maximum(low).minimum(high)
    return noisy if x.is_floating_point() else noisy.round().to(x.dtype)
