"""Decide how many samples of each slice to buy: the convex problem of Slice Tuner, and the limit of each round."""

from collections.abc import Callable, Sequence

import numpy as np

from redwood.branches.acquisition.curves import Floats, PowerLaw
from redwood.branches.acquisition.offer import Offer, level

_HALVINGS = 100  # of the logarithm of the price: it is exact then


def best_wish(curves: Sequence[PowerLaw], offer: Offer, money: float, weight: float) -> Floats | None:
    """Samples of each slice (S,), not whole, that lower the losses most for some money.

    It minimises `sum_i l_i(d_i) + weight * sum_i max(0, l_i(d_i) / A - 1)` subject to `sum_i c_i d_i = money` and
    `0 <= d_i <= pool_i`. Here `l_i(d) = b_i (N_i + d)^-a_i`, and `A` is the mean of `l_i(0)` (Tae & Whang, 2021,
    section 5.1). The second term lets no slice stay behind.

    The problem is convex, and only the budget joins its slices. So at the optimum, a unit of money gains the same in
    each slice with a purchase. Bisection finds that gain: the price at which the demand costs `money`. Money from which
    no slice gains is spent equally, once all else has been bought.

    Args:
        curves: The learning curve of each slice.
        offer: Sizes N, costs c and the pool.
        money: The money to spend; at most the cost of the pool.
        weight: Weight of the slices whose loss is above the average.

    Returns:
        The samples; None if there is no money, or no loss to lower.
    """
    sizes, costs, pool = (np.asarray(values, dtype=np.float64) for values in (offer.sizes, offer.costs, offer.pool))
    b, a = np.array([curve.b for curve in curves]), np.array([curve.a for curve in curves])
    mean = float(np.mean(b * sizes**-a))
    if not money > 0 or not mean > 0:
        return None
    falls = (a > 0) & (b > 0)
    b, a = np.where(falls, b, 1.0), np.where(falls, a, 1.0)
    with np.errstate(over="ignore"):
        average = (b / mean) ** (1 / a)  # size from which on a slice is no worse than the average; it may be infinite

    def demand(price: float) -> Floats:
        """Return the samples of each slice to buy if each unit of money lowers the objective by at least `price`."""
        with np.errstate(over="ignore"):
            ahead, behind = ((a * b * gain / (costs * price)) ** (1 / (a + 1)) for gain in (1.0, 1 + weight / mean))
        wanted = np.maximum(ahead, np.minimum(behind, average))
        return np.where(falls, np.clip(wanted - sizes, 0, pool), 0.0)

    low, high = -700.0, 700.0  # logarithms of prices
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        too_dear = offer.cost_of(demand(float(np.exp(middle)))) > money
        low, high = (middle, high) if too_dear else (low, middle)
    bought = demand(float(np.exp(high)))
    return level(bought * costs, pool * costs, money - offer.cost_of(bought)) / costs


def imbalance(sizes: Sequence[float] | Floats) -> float:
    """The imbalance ratio: the largest size over the smallest."""
    return float(np.max(sizes) / np.min(sizes))


# Change of the imbalance ratio that a round may make, by the number of the round (section 5.2).
CHANGES: dict[str, Callable[[int], float]] = {
    "conservative": lambda number: 1.0,
    "moderate": lambda number: 1.0 + number,
    "aggressive": lambda number: 2.0**number,
}


def rounds_needed(change: str, sizes: Sequence[int], wish: Floats) -> int:
    """Return the number of rounds whose `CHANGES` add up to the change of the imbalance ratio by a wish."""
    left, number = abs(imbalance(np.add(sizes, wish)) - imbalance(sizes)), 0
    while left > 0:
        left -= CHANGES[change](number)
        number += 1
    return number


def most_change(change: str, offer: Offer, wish: Floats) -> float:
    """Return the largest change of the imbalance ratio in this round.

    The paper takes as many rounds as it needs. Here their number is given, and the last one spends all that is left.
    If the changes of the rounds add up to less than the change by the wish, one factor raises all of them. So the last
    round has no more to do than its part.

    Args:
        change: A name of `CHANGES`.
        offer: Sizes, and the rounds that are left.
        wish: Samples of each slice (S,) for all that is left of the budget.
    """
    rounds = range(offer.round, offer.round + offer.rounds_left)
    usual = [CHANGES[change](number) for number in rounds]
    needed = abs(imbalance(np.add(offer.sizes, wish)) - imbalance(offer.sizes))
    return usual[0] * max(1.0, needed / sum(usual))


def trusted_share(sizes: Sequence[int], wish: Floats, most: float) -> float:
    """Return the share of a wish, in [0, 1], that changes the imbalance ratio by at most `most`.

    Slices influence each other. So learning curves are not reliable far from the sizes at which they were measured
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
