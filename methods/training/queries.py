"""Which labels a gradient method asks for, where a setting gives labels on request: rules of active learning."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from gymnasium.spaces import Discrete
from torch import Tensor
from typing_extensions import override

from redwood.core.errors import InvalidOptionError
from redwood.core.parts import Kind, Part
from redwood.methods.networks.last_layer import features_of

if TYPE_CHECKING:
    from redwood.methods.lightning import LightningMethod
    from redwood.settings.supervised import SupervisedSetting


class LabelPart(Part):
    """A part that deals with labels that are given on request."""

    def check(self, option: str, text: str, setting: "SupervisedSetting") -> None:
        """Raise `InvalidOptionError` if the part cannot be used under a setting, which is known with its data."""


class OnRequest(LabelPart):
    """Such a part that has an effect only where labels are asked for."""

    goes_by_classes: ClassVar[bool] = False  # whether it needs the probabilities of classes

    @classmethod
    @override
    def why_unsuitable(cls, owner: Any) -> str | None:
        return None if owner.assumptions.labels_on_request else "which gives all labels unasked"

    @override
    def check(self, option: str, text: str, setting: "SupervisedSetting") -> None:
        if getattr(setting, "label_budget", 0) == 1:
            raise InvalidOptionError(
                f"--{option} {text} has no sample to choose with --label_budget 1, which leaves none without a label; "
                "leave it out."
            )
        if self.goes_by_classes and not isinstance(setting.action_space, Discrete):
            raise InvalidOptionError(
                f"--{option} {text} goes by the probabilities of classes, but samples of {setting.dataset} do not "
                "have one class each; leave it out."
            )


def margin(scores: Tensor) -> Tensor:
    """How near the two most probable classes are (n,), at most 1, by scores (n, K) (Scheffer et al., 2001)."""
    if scores.shape[1] == 1:
        return torch.zeros(len(scores))
    first, second = scores.float().softmax(1).topk(2, dim=1).values.unbind(1)
    return 1 - (first - second)


def entropy(scores: Tensor) -> Tensor:
    """The entropy (n,) of the predicted classes, in nats, by scores (n, K)."""
    entropies: Tensor = torch.special.entr(scores.float().softmax(1)).sum(1)
    return entropies


def k_centres(features: Tensor, k: int) -> Tensor:
    """The greedy solution of the k-centre problem: each new centre is the sample farthest from all centres.

    Algorithm 1 of Sener & Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set Approach" (2018).
    Earlier windows are gone, so their samples are no centres; the first centre is the sample nearest to the mean.

    Args:
        features: Of the samples (n, d).
        k: Number of centres, at most n.

    Returns:
        Indices (k,) of the centres, in the order in which they were found.
    """
    if not k:
        return torch.empty(0, dtype=torch.long)
    centres = [int((features - features.mean(0)).square().sum(1).argmin())]
    distances = (features - features[centres[0]]).square().sum(1)
    while len(centres) < k:
        distances[centres[-1]] = -1.0  # among equal samples, too, none is chosen twice
        centres.append(int(distances.argmax()))
        distances = distances.minimum((features - features[centres[-1]]).square().sum(1))
    return torch.tensor(centres)


@dataclass
class QueryRule(LabelPart):
    """Which samples of a window are to get their labels."""

    @abstractmethod
    def choose(self, method: "LightningMethod", x: Tensor, limit: int) -> Tensor | None:
        """The samples (k,) of a window (n, ...) whose labels to ask for; None: drawn by the setting.

        Raises:
            InvalidOptionError: If the rule needs scores, and the method predicts classes alone.
        """


QUERY_RULES = Kind("query_rule", QueryRule, "redwood.query_rules")


@QUERY_RULES.register("random")
@dataclass
class RandomQueries(QueryRule):
    """Samples are drawn at random."""

    @override
    def choose(self, method: "LightningMethod", x: Tensor, limit: int) -> None:
        return None


class _ByScores(OnRequest, QueryRule):
    """The samples that the method is least certain of. The forward pass counts as selection."""

    goes_by_classes: ClassVar[bool] = True

    @abstractmethod
    def uncertainty(self, scores: Tensor) -> Tensor:
        """How uncertain each sample is (n,), by scores (n, K)."""

    @override
    def choose(self, method: "LightningMethod", x: Tensor, limit: int) -> Tensor:
        with method.flops.count_once("selection", kind=("query", len(x))):
            scores = method.predict(x, None)
        if scores.dim() != 2:
            raise InvalidOptionError(
                f"--query_rule {QUERY_RULES.text_of(self)} needs scores, but {type(method).__name__} predicts classes "
                "alone; use --query_rule random or core_set."
            )
        return self.uncertainty(scores).topk(limit).indices


@QUERY_RULES.register("margin")
@dataclass
class Margin(_ByScores):
    """The samples whose two most probable classes are nearest to each other (Scheffer et al., 2001)."""

    @override
    def uncertainty(self, scores: Tensor) -> Tensor:
        return margin(scores)


@QUERY_RULES.register("entropy")
@dataclass
class Entropy(_ByScores):
    """The samples whose predicted classes have the highest entropy."""

    @override
    def uncertainty(self, scores: Tensor) -> Tensor:
        return entropy(scores)


@QUERY_RULES.register("core_set")
@dataclass
class CoreSet(OnRequest, QueryRule):
    """Samples whose features cover those of the window: see `k_centres`. The forward pass counts as selection."""

    @override
    def choose(self, method: "LightningMethod", x: Tensor, limit: int) -> Tensor:
        with method.flops.count_once("selection", kind=("query", len(x))):
            return k_centres(features_of(method.network, x.to(method.device)), limit)
