"""Losses on samples that stay without labels, where a setting gives labels on request."""

from typing import Any, Protocol

import torch
from gymnasium.spaces import Discrete
from torch import Tensor, nn
from torch.nn import functional as F

from redwood.core.checks import check_choice, check_range
from redwood.core.errors import InvalidOptionError
from redwood.methods.training.augmentations import Change
from redwood.methods.training.layers import evaluating
from redwood.methods.training.queries import QUERY_RULES
from redwood.settings.supervised import SupervisedSetting

NOISE = 0.1  # standard deviation, as a share of the range of the samples
# Options that have an effect only where labels are asked for, and the values that switch them off.
LABEL_OPTIONS = {"query_rule": "random", "pseudo_labels": 0.0, "consistency": 0.0}


class UnlabelledMethod(Protocol):
    """The part of a method that learns from samples without labels; see `LightningMethod`."""

    augmentation: Any
    change_images: Change
    pseudo_labels: float
    consistency: float
    setting: SupervisedSetting

    @property
    def network(self) -> nn.Module:
        """The network."""

    def logits(self, x: Tensor, task_id: Tensor | None) -> Tensor:
        """Scores (n, K) for samples (n, ...)."""


def check_label_options(method: Any) -> None:
    """Raise `InvalidOptionError` if one of `LABEL_OPTIONS` of `method` is out of range."""
    check_choice(method, "query_rule", QUERY_RULES)
    check_range(method, "pseudo_labels", 0, 1)
    check_range(method, "consistency", 0)


def refuse_label_options(method: Any, setting: SupervisedSetting) -> None:
    """Raise `InvalidOptionError` if one of `LABEL_OPTIONS` is given, and the setting gives all labels unasked."""
    if setting.assumptions.labels_on_request:
        _refuse_without_effect(method, setting)
        return
    for name, off in LABEL_OPTIONS.items():
        if getattr(method, name) != off:
            raise InvalidOptionError(
                f"--{name} {getattr(method, name)} has no effect under {type(setting).__name__}, which gives all "
                "labels unasked; leave it out, or use --setting label_budget."
            )


def _refuse_without_effect(method: Any, setting: SupervisedSetting) -> None:
    """Raise `InvalidOptionError` if all samples get labels, or an option needs classes and there are none."""
    for name, off in LABEL_OPTIONS.items():
        value = getattr(method, name)
        if value != off and getattr(setting, "label_budget", 0) == 1:
            raise InvalidOptionError(
                f"--{name} {value} has no effect with --label_budget 1, which leaves no sample without a label; leave "
                "it out."
            )
        if value not in (off, "core_set") and not isinstance(setting.action_space, Discrete):
            raise InvalidOptionError(
                f"--{name} {value} goes by the probabilities of classes, but samples of {setting.dataset} do not have "
                "one class each; leave it out."
            )


def refuse_unlabelled_losses(method: UnlabelledMethod, reason: str) -> None:
    """Raise `InvalidOptionError` if a loss on samples without labels is asked for, and the method has none to learn."""
    for name in ("pseudo_labels", "consistency"):
        if getattr(method, name):
            raise InvalidOptionError(
                f"--{name} {getattr(method, name)} has no effect on {type(method).__name__}, {reason}; leave it out."
            )


def unlabelled_loss(method: UnlabelledMethod, x: Tensor) -> Tensor | float:
    """The loss (scalar) of the options `pseudo_labels` and `consistency` on samples (u, ...); 0.0 without them.

    Pseudo-labels (Lee, 2013; with the threshold of FixMatch, Sohn et al., 2020, equation 4): the cross-entropy of a
    changed view of each sample with the class that is predicted for the sample itself, if that class has at least the
    probability `pseudo_labels`; a mean over all u samples.

    Consistency (the Pi-model of Laine & Aila, 2017): the mean squared difference between the predicted probabilities of
    two changed views, times `consistency`.
    """
    if not method.pseudo_labels and not method.consistency:
        return 0.0
    scores, loss = method.logits(changed(method, x), None), torch.zeros((), device=x.device)
    if method.pseudo_labels:
        with torch.no_grad(), evaluating(method.network):
            probability, label = method.logits(x, None).softmax(1).max(1)
        sure = (probability >= method.pseudo_labels).float()
        loss = loss + (sure * F.cross_entropy(scores, label, reduction="none")).mean()
    if method.consistency:
        other = method.logits(changed(method, x), None)
        loss = loss + method.consistency * F.mse_loss(scores.softmax(1), other.softmax(1))
    return loss


def changed(method: UnlabelledMethod, x: Tensor) -> Tensor:
    """A random view of samples (u, ...) in their dtype: by `--augmentation`, else with normal noise."""
    if method.augmentation != "none":
        return method.change_images(x)
    space = method.setting.observation_space
    low, high = (torch.as_tensor(bound, dtype=torch.float32, device=x.device) for bound in (space.low, space.high))
    noisy = x + NOISE * (high - low) * torch.randn(x.shape, device=x.device)
    noisy = noisy.maximum(low).minimum(high)
    return noisy if x.is_floating_point() else noisy.round().to(x.dtype)
