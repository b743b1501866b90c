"""Tests of hypotheses on counts, with torch alone."""

import torch
from torch import Tensor

ALPHA = 1e-3


def chi_square_tail(statistic: float, degrees_of_freedom: int) -> float:
    """Probability that a chi-square variable exceeds a value."""
    a, x = torch.tensor([degrees_of_freedom / 2, statistic / 2], dtype=torch.float64)
    return float(torch.special.gammaincc(a, x))


def share_p_value(counts: Tensor, weights: Tensor) -> float:
    """P-value of independent trials falling into each bin in proportion to its weight (Pearson's chi-square)."""
    expected = counts.sum() * weights.double() / weights.sum()
    assert expected.min() >= 5
    return chi_square_tail(float(((counts - expected) ** 2 / expected).sum()), len(counts) - 1)


def draw_p_value(counts: Tensor, n_drawn: int, n_trials: int, sizes: Tensor | None = None) -> float:
    """P-value of draws without replacement being uniform over items.

    With M items the counts are less dispersed than those of independent trials, by (M - n_drawn) / (M - 1):
    X2 * (M - 1) / (M - n_drawn) has a chi-square distribution, Pearson's X2 alone has not.

    Args:
        counts: How often each item, or an item of each group, was drawn in all trials.
        n_drawn: Items drawn in each trial.
        n_trials: Number of trials.
        sizes: Items in each group; default: each item by itself.
    """
    sizes = torch.ones(len(counts)) if sizes is None else sizes
    total = float(sizes.sum())
    assert counts.sum() == n_drawn * n_trials
    expected = n_trials * n_drawn * sizes.double() / total
    assert expected.min() >= 5
    statistic = float(((counts - expected) ** 2 / expected).sum()) * (total - 1) / (total - n_drawn)
    return chi_square_tail(statistic, len(counts) - 1)


def z_score(values: Tensor, expected: float) -> float:
    """How many standard errors the mean of independent values is from what it should be."""
    return float((values.double().mean() - expected) / (values.double().std() / len(values) ** 0.5))
