"""Which labels a gradient method asks for, where a setting gives labels on request: rules of active learning."""

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from redwood.core.errors import InvalidOptionError
from redwood.methods.networks.last_layer import features_of
from redwood.methods.training.flops import FlopMeter


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


UNCERTAINTIES: Mapping[str, Callable[[Tensor], Tensor]] = {"margin": margin, "entropy": entropy}
QUERY_RULES = ("random", *UNCERTAINTIES, "core_set")


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


class QueryingMethod(Protocol):
    """The part of a method that chooses samples; see `LightningMethod`."""

    query_rule: str
    flops: FlopMeter
    device: torch.device

    @property
    def network(self) -> nn.Module:
        """The network, whose last layer's inputs are the features."""

    def predict(self, x: Tensor, task_id: Tensor | None) -> Tensor:
        """Scores (n, K) for samples (n, ...)."""


def choose(method: QueryingMethod, x: Tensor, limit: int) -> Tensor | None:
    """The samples (k,) of a window (n, ...) whose labels to ask for by `--query_rule`; None: drawn by the setting.

    The forward pass counts as selection.

    Raises:
        InvalidOptionError: If the rule needs scores, and the method predicts classes alone.
    """
    rule = method.query_rule
    if rule == "random":
        return None
    with method.flops.count_once("selection", kind=("query", len(x))):
        if rule == "core_set":
            return k_centres(features_of(method.network, x.to(method.device)), limit)
        scores = method.predict(x, None)
    if scores.dim() != 2:
        raise InvalidOptionError(
            f"--query_rule {rule} needs scores, but {type(method).__name__} predicts classes alone; use --query_rule "
            "random or core_set."
        )
    return UNCERTAINTIES[rule](scores).topk(limit).indices
