"""Ridge regression in closed form (Hoerl and Kennard, 1970), with a bias that is not penalised."""

import torch
from torch import Tensor


def fit_ridge(x: Tensor, y: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """Weights W and bias b of the least sum |x W + b - y|^2 + penalty |W|^2.

    Args:
        x: Inputs (n, d), double precision.
        y: Targets (n, k); for classes one-hot.
        penalty: Greater than 0; then the solution is unique, however many samples there are.

    Returns:
        W (d, k) and b (k,).
    """
    n, d = x.shape
    mean, target = x.mean(0), y.mean(0)
    x, y = x - mean, y - target
    identity = torch.eye(min(n, d), dtype=x.dtype)
    if n < d:  # the dual form has fewer equations
        weights = x.T @ torch.linalg.solve(x @ x.T + penalty * identity, y)
    else:
        weights = torch.linalg.solve(x.T @ x + penalty * identity, x.T @ y)
    return weights, target - mean @ weights


def predict_ridge(x: Tensor, y: Tensor, weights: Tensor, at: Tensor, penalty: float) -> Tensor:
    """What many local models predict, each fitted to samples and weights of its own and asked at one place.

    Args:
        x: Inputs (q, n, d), double precision.
        y: Targets (q, n, k).
        weights: Of each sample in its model's sum of squared errors (q, n), not all 0.
        at: Where each model is asked (q, d).
        penalty: Of the squared length of the models' weights, greater than 0.

    Returns:
        Predictions (q, k).
    """
    shares, roots = (weights / weights.sum(1, keepdim=True))[..., None], weights.sqrt()[..., None]
    mean, target = (shares * x).sum(1, keepdim=True), (shares * y).sum(1, keepdim=True)
    x, y, at = roots * (x - mean), roots * (y - target), at[:, None] - mean
    n, d = x.shape[1:]
    identity = torch.eye(min(n, d), dtype=x.dtype)
    if n < d:  # as in `fit_ridge`
        rest = (at @ x.mT) @ torch.linalg.solve(x @ x.mT + penalty * identity, y)
    else:
        rest = at @ torch.linalg.solve(x.mT @ x + penalty * identity, x.mT @ y)
    predictions: Tensor = (target + rest)[:, 0]
    return predictions


def ridge_flops(n: int, d: int, k: int) -> float:
    """Operations of a fit of k targets to n samples of d inputs.

    They are the matrix of the smaller system, its decomposition, k solutions, and the products of k targets or
    solutions with the samples.
    """
    m = min(n, d)
    return 2.0 * n * d * m + 2.0 * m**3 / 3 + 2.0 * m**2 * k + 2.0 * n * d * k
