"""Divide the samples of a stream into parts that differ in their classes, one for each worker or client."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


def dirichlet_owners(classes: Tensor, quotas: Sequence[int], alpha: float, seed: int) -> Tensor:
    """Share out samples so that the parts differ in their classes; each sample belongs to one part.

    Part w draws its preferences for the classes, p_w ~ Dirichlet(alpha * q), where q are the shares of the classes in
    all samples. It fills its quota with samples of classes drawn from p_w, without replacement. Where a class is used
    up, the preferences for the others count alone (Hsu et al., 2019, arXiv:1909.06335, section 3). All parts draw
    at once. If they ask for more samples of a class than there are, chance decides which of their requests are met.

    Args:
        classes: Class of each sample (n,), integers.
        quotas: Number of samples of each part (W,); they sum to n.
        alpha: Concentration, greater than 0. Near 0 a part prefers one class; the larger, the more alike all parts are.
        seed: Seed of the draws.

    Returns:
        The part of each sample (n,), int64.
    """
    assert sum(quotas) == len(classes)
    random = np.random.default_rng(seed)
    kinds = classes.unique(return_inverse=True)[1].numpy()
    supply = np.bincount(kinds)
    preferences = _log_dirichlet(alpha * (supply / supply.sum()), len(quotas), random)
    taken = _take(preferences, supply, np.array(quotas), random)
    owners = np.empty(len(kinds), dtype=np.int64)
    for kind, counts in enumerate(taken.T):
        owners[kinds == kind] = random.permutation(np.repeat(np.arange(len(quotas)), counts))
    return torch.from_numpy(owners)


def _log_dirichlet(concentration: Floats, n: int, random: Generator) -> Floats:
    """Logarithms (n, K) of n draws from a Dirichlet distribution, each up to a constant.

    With a small concentration, all draws but one would be 0 in floating point. Their order is needed once a class is
    used up. A gamma variable of shape a is one of shape a + 1, times u^(1/a) with a uniform u.
    """
    shape = np.maximum(concentration, 1e-300)  # a quotient by less would overflow
    size = (n, len(shape))
    return np.log(random.standard_gamma(shape + 1, size)) + np.log(1 - random.random(size)) / shape


def _take(preferences: Floats, supply: Counts, quotas: Counts, random: Generator) -> Counts:
    """Return the number of samples (W, K) of each class in each part.

    Rows sum to the quotas (W,), columns to the supply (K,).

    The logarithms of the preferences are (W, K). Each turn fills all quotas or uses up a class, so there are at most
    K + 1 turns.
    """
    taken = np.zeros(preferences.shape, dtype=np.int64)
    while (wanted := quotas - taken.sum(1)).any():
        left = supply - taken.sum(0)
        open_now = np.where(left > 0, preferences, -np.inf)
        weights = np.exp(open_now - open_now.max(1, keepdims=True))
        asked = random.multinomial(wanted, weights / weights.sum(1, keepdims=True))
        for kind in np.flatnonzero(asked.sum(0) > left):
            asked[:, kind] = random.multivariate_hypergeometric(asked[:, kind], left[kind])
        taken += asked
    return taken


def serve_own(order: Tensor, owners: Tensor, places: Tensor) -> Tensor:
    """Rearrange a sequence so that each place of a worker holds a sample of this worker.

    Args:
        order: The samples (n,), as indices.
        owners: The worker that each sample belongs to (n,), by index.
        places: The worker that each place of the sequence belongs to (n,). Each worker has as many places as samples.

    Returns:
        The samples (n,). Those of one worker keep their order.
    """
    served = torch.empty_like(order)
    served[places.argsort(stable=True)] = order[owners[order].argsort(stable=True)]
    return served
