"""How many samples of each slice to buy: the convex problem of Slice Tuner, and the limit on what one round changes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from redwood.methods.acquisition.curves import Floats, PowerLaw
from redwood.settings.acquisition.offer import Offer

_PRECISION, _FEASIBLE, _ITERATIONS = 1e-10, 1e-6, 1000


def best_wish(curves: Sequence[PowerLaw], offer: Offer, money: float, weight: float) -> Floats | None:
    """Samples of each slice (S,), not whole, that lower the losses most for some money.

    It minimises `sum_i l_i(d_i) + weight * sum_i max(0, l_i(d_i) / A - 1)` subject to `sum_i c_i d_i = money` and
    `0 <= d_i <= pool_i`, where `l_i(d) = b_i (N_i + d)^-a_i` and `A` is the mean of `l_i(0)` (Tae & Whang, 2021,
    section 5.1). The second term lets no slice stay behind. Of slices that are above the average now, the maximum is a
    variable of its own with two inequalities, so that the problem is smooth; sequential least squares solve it.

    Args:
        curves: The learning curve of each slice.
        offer: Sizes N, costs c and the pool.
        money: What is spent; the pool costs at least that.
        weight: Weight of the slices whose loss is above the average.

    Returns:
        The samples; None if no optimum is found.
    """
    from scipy.optimize import minimize

    sizes, costs, pool = (np.asarray(values, dtype=np.float64) for values in (offer.sizes, offer.costs, offer.pool))
    n = len(sizes)
    scale = money / costs  # a variable is the share of the money that is spent on a slice
    mean = float(np.mean([curve(size) for curve, size in zip(curves, sizes, strict=True)]))
    if not money > 0 or not mean > 0:
        return None

    def losses(shares: Floats) -> Floats:
        return np.array([curve(size) for curve, size in zip(curves, sizes + shares * scale, strict=True)]) / mean

    def slopes(shares: Floats) -> Floats:
        at = sizes + shares * scale
        return np.array([curve.slope(size) for curve, size in zip(curves, at, strict=True)]) * scale / mean

    gain = weight / mean  # of the second term, in units of the first one divided by the mean
    behind = np.flatnonzero(losses(np.zeros(n)) > 1) if weight else np.zeros(0, dtype=np.int64)
    constraints: list[dict[str, Any]] = [
        {
            "type": "eq",
            "fun": lambda z: z[:n].sum() - 1,
            "jac": lambda z: np.concatenate([np.ones(n), np.zeros(len(behind))]),
        },
        {
            "type": "ineq",
            "fun": lambda z: z[n:] - losses(z[:n])[behind] + 1,
            "jac": lambda z: np.hstack([-np.diag(slopes(z[:n]))[behind], np.eye(len(behind))]),
        },
    ]
    start = np.array(offer.equal_shares(money)) / scale
    start /= start.sum() if start.sum() else 1.0
    first = np.concatenate([start, np.maximum(0, losses(start) - 1)[behind]])

    def total(z: Floats) -> float:
        return float(losses(z[:n]).sum() + gain * z[n:].sum())

    found = minimize(
        total,
        first,
        jac=lambda z: np.concatenate([slopes(z[:n]), np.full(len(behind), gain)]),
        bounds=[*((0.0, float(most)) for most in pool / scale), *([(0.0, None)] * len(behind))],
        constraints=constraints[: 2 if len(behind) else 1],
        method="SLSQP",
        options={"ftol": _PRECISION, "maxiter": _ITERATIONS},
    )
    # It also ends where rounding errors hide any further descent, which is no failure.
    shares = np.clip(found.x[:n], 0, None)
    solved = np.isfinite(found.x).all() and abs(shares.sum() - 1) < _FEASIBLE and total(found.x) <= total(first)
    return shares * scale if solved else None


def imbalance(sizes: Sequence[float] | Floats) -> float:
    """The imbalance ratio: the largest size over the smallest."""
    return float(np.max(sizes) / np.min(sizes))


def trusted_share(sizes: Sequence[int], wish: Floats, most: float) -> float:
    """The share of a wish, in [0, 1], that changes the imbalance ratio by at most `most`.

    Slices influence each other, so learning curves are not to be trusted far from the sizes that they were measured at
    (Tae & Whang, 2021, section 5.2).
    """
    before = imbalance(sizes)

    def change(share: float) -> float:
        return abs(imbalance(np.asarray(sizes) + share * wish) - before)

    if change(1.0) <= most:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if change(middle) <= most else (low, middle)
    return low
