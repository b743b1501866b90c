"""The best purchase: it spends the budget, and no exchange of samples would lower the losses further."""

import numpy as np
import pytest

from redwood.branches.acquisition.allocation import best_wish, imbalance, trusted_share
from redwood.branches.acquisition.curves import PowerLaw
from redwood.branches.acquisition.offer import Offer


def problem(seed, slices=6, pool=10**6):
    rng = np.random.default_rng(seed)
    curves = [PowerLaw(b, a) for b, a in zip(rng.uniform(0.5, 5, slices), rng.uniform(0.1, 0.9, slices), strict=True)]
    sizes, costs = tuple(rng.integers(5, 60, slices).tolist()), tuple(rng.choice([0.5, 1.0, 2.0], slices).tolist())
    return curves, Offer(0, 1, 300.0, tuple(map(str, range(slices))), sizes, costs, (pool,) * slices)


def losses(curves, offer, wish):
    return np.array([curve(size) for curve, size in zip(curves, np.add(offer.sizes, wish), strict=True)])


def objective(curves, offer, wish, weight):
    mean = losses(curves, offer, np.zeros(len(curves))).mean()
    now = losses(curves, offer, wish)
    return now.sum() + weight * np.maximum(0, now / mean - 1).sum()


def changes(curves, offer, wish, money, weight):
    """What each slice's part of the objective (S,) changes by, if so much more is spent on it."""
    mean = losses(curves, offer, np.zeros(len(curves))).mean()
    now, then = (losses(curves, offer, wish + more / np.array(offer.costs)) for more in (0.0, money))
    return then - now + weight * (np.maximum(0, then / mean - 1) - np.maximum(0, now / mean - 1))


@pytest.mark.parametrize("seed", range(8))
def test_marginal_gains_are_equal_at_the_optimum(seed):
    """The conditions of Karush, Kuhn and Tucker: a unit of money gains the same wherever it is spent."""
    curves, offer = problem(seed)
    wish = best_wish(curves, offer, 300.0, weight=0.0)
    gains = np.array(
        [-float(c.slope(n)) / cost for c, n, cost in zip(curves, np.add(offer.sizes, wish), offer.costs, strict=True)]
    )
    bought = wish > 1e-3
    assert offer.cost_of(wish) == pytest.approx(300.0, rel=1e-6)
    assert bought.any() and gains[bought].max() == pytest.approx(gains[bought].min(), rel=0.02)
    assert (gains[~bought] <= gains[bought].min() * 1.02).all()


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("weight", [0.1, 1.0, 10.0])
def test_no_exchange_of_two_slices_is_better(seed, weight):
    curves, offer = problem(seed)
    wish = best_wish(curves, offer, 300.0, weight)
    best = objective(curves, offer, wish, weight)
    for source in range(6):
        for target in range(6):
            moved = wish.copy()
            money = min(1.0, wish[source] * offer.costs[source])
            moved[source] -= money / offer.costs[source]
            moved[target] += money / offer.costs[target]
            assert objective(curves, offer, moved, weight) >= best - 1e-6


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_each_offer_that_has_a_purchase_finds_one(weight):
    """200 offers with costs of their own and small pools; to spend a cent on another slice is no better."""
    for seed in range(200):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(2, 12))
        powers = rng.choice([0, 0.05, 0.4, 1.5], n)
        curves = [PowerLaw(b, a) for b, a in zip(rng.uniform(0.1, 8, n), powers, strict=True)]
        sizes, pool = rng.integers(1, 100, n), rng.integers(0, 60, n)
        costs = np.round(rng.uniform(0.1, 12, n), 2)
        money = float(rng.uniform(0.01, 1.0) * (costs * pool).sum())
        offer = Offer(0, 1, money, ("",) * n, *(tuple(values.tolist()) for values in (sizes, costs, pool)))
        if not money:
            continue
        wish = best_wish(curves, offer, money, weight)
        assert wish is not None
        assert (wish >= 0).all() and (wish <= pool + 1e-6).all() and offer.cost_of(wish) == pytest.approx(money)
        lost = changes(curves, offer, wish, -0.01, weight)[wish * costs > 0.01]
        gained = -changes(curves, offer, wish, 0.01, weight)[(pool - wish) * costs > 0.01]
        assert lost.min(initial=np.inf) >= gained.max(initial=0) - 1e-9


def test_what_no_slice_gains_from_is_spent_equally():
    curves = [PowerLaw(1.0, 0.5), PowerLaw(1.0, 0.0), PowerLaw(2.0, 0.0)]
    offer = Offer(0, 1, 50.0, ("a", "b", "c"), (20, 20, 20), (1.0, 1.0, 2.0), (10, 100, 100))
    assert best_wish(curves, offer, 50.0, weight=1.0).tolist() == pytest.approx([10, 20, 10])


def test_more_weight_lets_no_slice_stay_behind():
    curves = [PowerLaw(1.0, 0.5), PowerLaw(4.0, 0.05)]  # the second is bad, and samples help it little
    offer = Offer(0, 1, 100.0, ("a", "b"), (20, 20), (1.0, 1.0), (1000, 1000))
    wishes = [best_wish(curves, offer, 100.0, weight) for weight in (0.0, 5.0, 20.0)]
    assert wishes[0][1] < wishes[1][1] < wishes[2][1]


def test_the_pool_limits_each_slice():
    curves, offer = problem(0, pool=40)
    wish = best_wish(curves, offer, 200.0, weight=1.0)
    assert (wish <= 40 + 1e-6).all() and offer.cost_of(wish) == pytest.approx(200.0, rel=1e-6)


def test_many_slices():
    curves, offer = problem(1, slices=100)
    wish = best_wish(curves, offer, 5000.0, weight=1.0)
    assert offer.cost_of(wish) == pytest.approx(5000.0, rel=1e-6) and (wish >= 0).all()


@pytest.mark.parametrize("curve", [PowerLaw(0.0, 0.5), PowerLaw(1.0, 0.0)])
def test_curves_that_promise_nothing(curve):
    offer = Offer(0, 1, 10.0, ("a", "b"), (5, 5), (1.0, 1.0), (9, 9))
    wish = best_wish([curve, curve], offer, 10.0, weight=1.0)
    assert wish is None or offer.cost_of(wish) == pytest.approx(10.0)


def test_no_money():
    curves, offer = problem(0)
    assert best_wish(curves, offer, 0.0, weight=1.0) is None


class TestTrust:
    def test_the_imbalance_changes_by_exactly_so_much(self):
        sizes, wish = (10, 20, 60), np.array([50.0, 40.0, 0.0])
        assert imbalance(sizes) == 6
        share = trusted_share(sizes, wish, 2.0)
        assert imbalance(np.add(sizes, share * wish)) == pytest.approx(4.0)

    def test_a_small_change_is_trusted_whole(self):
        assert trusted_share((10, 20, 60), np.array([1.0, 0.0, 0.0]), 1.0) == 1.0
