"""Measure how related an earlier network is to a new task: nearest neighbours vote on its features."""

import torch
from torch import Tensor
from torch.nn import functional as F

# Samples that retrieval looks at: Veniat et al. (2021) use as many.
MOST_SAMPLES = 1000


@torch.no_grad()
def neighbour_accuracy(features: Tensor, y: Tensor, k: int) -> float:
    """The accuracy of k nearest neighbours on features, each sample left out once.

    Args:
        features: Features (n, d) of a network before its last layer.
        y: Labels (n,), integers from 0.
        k: Neighbours that vote; of equal votes, the nearer neighbours' label wins.

    Returns:
        Share of the samples whose label the others predict; 0 for less than two samples.
    """
    n = len(y)
    if n < 2:
        return 0.0
    # Centred, since the squares of large means would drown the differences.
    centred = (features - features.mean(0)).float()
    squares = centred.square().sum(1)
    distances = squares[:, None] + squares[None] - 2 * centred @ centred.T
    distances.fill_diagonal_(torch.inf)
    nearest = distances.topk(min(k, n - 1), largest=False).indices
    votes = F.one_hot(y[nearest], int(y.max()) + 1).double()
    # Less than a vote in sum, and more for nearer neighbours.
    nearness = torch.arange(nearest.shape[1], 0, -1, device=y.device, dtype=torch.float64)
    votes = (votes * (1 + nearness[:, None] / (2 * nearness.sum()) * 1e-3)).sum(1)
    return float((votes.argmax(1) == y).double().mean())
