"""Scores of predicted label sets: mean average precision and F1, of all labels and by how frequent a label is."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from redwood.settings.scores.measure import LABEL_GROUPS, LABEL_SCORES

ALL = "all"

# Score -> group, or `ALL` -> value; None where no sample has a label of the group.
LabelScores: TypeAlias = dict[str, dict[str, float | None]]


def label_groups(counts: Tensor) -> dict[str, list[int]]:
    """The labels of each group: majority, moderate and minority.

    Args:
        counts: Number of training samples that have each label (L,).
    """
    shares, groups, above = counts / counts.max(), {}, float("inf")
    for name, least in LABEL_GROUPS.items():
        groups[name] = ((shares >= least) & (shares < above)).nonzero().flatten().tolist()
        above = least
    return groups


def label_scores(scores: Tensor, y: Tensor, groups: Mapping[str, Sequence[int]]) -> LabelScores:
    """The scores of some samples, over all labels and over those of each group.

    - `map`: mean over labels of the average precision, the area under the steps of precision against recall
    - `cf1`: mean over labels of F1 = 2 TP / (2 TP + FP + FN) (per-class F1, or macro F1)
    - `of1`: F1 of the sums of TP, FP and FN over labels (overall F1, or micro F1)

    Means are over the labels that some sample has: the other labels have no recall.

    Args:
        scores: Scores (n, L), where a label is predicted if its score is above 0; or predicted label sets, bool.
        y: The label sets (n, L), bool.
        groups: The labels of each group.
    """
    predicted = scores if scores.dtype == torch.bool else scores > 0
    right, wrong = (predicted & y).sum(0), (predicted ^ y).sum(0)
    values: LabelScores = {name: {} for name in LABEL_SCORES}
    present = y.any(0)
    precision = torch.full((y.shape[1],), torch.nan, dtype=torch.float64)
    for label in present.nonzero().flatten().tolist():
        precision[label] = average_precision(scores[:, label], y[:, label])
    for group, labels in {ALL: range(y.shape[1]), **groups}.items():
        own = torch.tensor(list(labels), dtype=torch.long)
        tp, errors, known = right[own], wrong[own], present[own]
        f1 = 2 * tp / (2 * tp + errors)
        values["map"][group] = _mean(precision[own][known])
        values["cf1"][group] = _mean(f1[known].double())
        values["of1"][group] = float(2 * tp.sum() / (2 * tp.sum() + errors.sum())) if bool(known.any()) else None
    return values


def average_precision(scores: Tensor, y: Tensor) -> float:
    """The average precision `sum_k (R_k - R_(k-1)) P_k` over all thresholds k, as scikit-learn defines it.

    Args:
        scores: The score of each sample (n,); samples of equal scores share a threshold.
        y: Which samples have the label (n,), bool, at least one of them.
    """
    order = scores.argsort(descending=True)
    ranked, hits = scores[order], y[order].cumsum(0).double()
    last = torch.ones(len(y), dtype=torch.bool)
    last[:-1] = ranked[1:] != ranked[:-1]
    found, n = hits[last], torch.arange(1, len(y) + 1)[last]
    recall = found / hits[-1]
    return float((recall.diff(prepend=recall.new_zeros(1)) * found / n).sum())


def sample_f1(predicted: Tensor, y: Tensor) -> Tensor:
    """F1 of each sample's label set (n,): 2 |P and Y| / (|P| + |Y|), or 1 where both are empty; both (n, L) bool."""
    total = predicted.sum(1) + y.sum(1)
    return torch.where(total > 0, 2 * (predicted & y).sum(1) / total.clamp(min=1), 1.0)


def _mean(values: Tensor) -> float | None:
    return float(values.mean()) if len(values) else None
