"""Rules of active learning, which choose the labels that are asked for."""

from abc import abstractmethod
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from redwood.core.errors import InvalidOptionError
from redwood.core.parts import Kind, Part
from redwood.methods.base import Method
from redwood.methods.lightning import LightningMethod


def margin(scores: Tensor) -> Tensor:
    """Return the nearness (n,) of the two most probable classes, at most 1, by scores (n, K).

    It is 1 minus the margin between their probabilities (Scheffer et al., 2001).
    """
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
class QueryRule(Part):
    """A rule that chooses the samples of a window that get labels."""

    goes_by_classes: ClassVar[bool] = False  # whether it needs the probabilities of classes

    @abstractmethod
    def choose(self, method: Method, x: Tensor, limit: int) -> Tensor | None:
        """The samples (k,) of a window (n, ...) whose labels to ask for; None: drawn by the setting.

        Raises:
            InvalidOptionError: If the rule needs scores, and the method predicts classes alone.
            NotApplicableError: If the rule needs features, and the method has none.
        """


QUERY_RULES = Kind("query_rule", QueryRule, "redwood.query_rules")


@QUERY_RULES.register("random")
@dataclass
class RandomQueries(QueryRule):
    """Samples are drawn at random."""

    @override
    def choose(self, method: Method, x: Tensor, limit: int) -> None:
        return None


class _ByScores(QueryRule):
    """The samples that the method is least certain of. The forward pass counts as selection."""

    goes_by_classes: ClassVar[bool] = True

    @abstractmethod
    def uncertainty(self, scores: Tensor) -> Tensor:
        """Return the uncertainty of each sample (n,), by scores (n, K)."""

    @override
    def choose(self, method: Method, x: Tensor, limit: int) -> Tensor:
        with selecting(method, len(x)):
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
class CoreSet(QueryRule):
    """Samples whose features cover those of the window: see `k_centres`. The forward pass counts as selection."""

    @override
    def choose(self, method: Method, x: Tensor, limit: int) -> Tensor:
        with selecting(method, len(x)):
            return k_centres(method.features(x), limit)


def selecting(method: object, n: int | None = None) -> AbstractContextManager[None]:
    """Count floating-point operations as those of a selection, if the method counts them at all.

    Args:
        method: The method.
        n: Number of samples, if that alone decides their number; None: they are counted each time, which takes longer.
    """
    if not isinstance(method, LightningMethod):
        return nullcontext()
    return method.flops.count("selection") if n is None else method.flops.count_once("selection", kind=("query", n))
