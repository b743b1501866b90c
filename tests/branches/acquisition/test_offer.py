"""Purchases that need no model, and the check of those that methods make."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from redwood.branches.acquisition.offer import InvalidPurchaseError, Offer

OFFER = Offer(
    round=0,
    rounds_left=1,
    budget=100.0,
    names=("a", "b", "c"),
    sizes=(10, 20, 40),
    costs=(1.0, 2.0, 5.0),
    pool=(1000, 1000, 1000),
)


def offers(n):
    rng = np.random.default_rng(0)
    for _ in range(n):
        slices = int(rng.integers(1, 7))
        pool = rng.integers(0, 40, slices)
        costs = rng.choice([0.1, 0.3, 1.0, 1.7, 6.0], slices)
        worth = float(np.dot(pool, costs))
        yield Offer(
            0,
            int(rng.integers(1, 4)),
            worth * float(rng.random()),
            tuple(map(str, range(slices))),
            tuple(rng.integers(1, 50, slices).tolist()),
            tuple(costs.tolist()),
            tuple(pool.tolist()),
        )


class TestSimplePurchases:
    def test_the_same_is_spent_on_each_slice(self):
        assert replace(OFFER, budget=90.0).equal_shares(90.0) == [30, 15, 6]

    def test_what_a_pool_lacks_goes_to_the_others(self):
        assert replace(OFFER, costs=(1.0, 1.0, 1.0), pool=(4, 1000, 1000)).equal_shares(100.0) == [4, 48, 48]

    def test_the_smallest_slices_are_filled_to_one_level(self):
        offer = replace(OFFER, costs=(1.0, 1.0, 1.0))
        assert offer.smallest_first(20.0) == [15, 5, 0]
        assert offer.smallest_first(50.0) == [30, 20, 0]
        assert offer.smallest_first(80.0) == [40, 30, 10]

    @pytest.mark.parametrize("kind", ["equal_shares", "smallest_first"])
    def test_the_money_is_spent_but_for_what_buys_nothing(self, kind):
        for offer in offers(300):
            money = offer.share
            counts = getattr(offer, kind)(money)
            left = money - offer.cost_of(counts)
            assert offer.checked(counts, "test") == counts and left > -1e-6
            prices = [c for c, n, pool in zip(offer.costs, counts, offer.pool, strict=True) if n < pool]
            assert not prices or left < min(prices)

    def test_large_purchases_are_fast_and_exact(self):
        offer = replace(OFFER, budget=3e6, pool=(10**6,) * 3, costs=(1.0, 1.0, 1.0))
        for counts in (offer.equal_shares(1e6), offer.smallest_first(1e6)):
            assert sum(counts) == 10**6

    def test_a_wish_is_rounded_to_its_nearest(self):
        assert replace(OFFER, costs=(1.0, 1.0, 1.0)).whole([1.7, 2.7, 0.6], 5.0) == [2, 3, 0]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ([101, 0, 0], "spends 101 in round 0, but 100 of the budget is left"),
        ([0, 0, 1001], "buys 1001 samples of slice c, but its pool holds 1000"),
        ([-1, 0, 0], r"returned \[-1, 0, 0\]"),
        ([0.5, 0, 0], r"returned \[0.5, 0, 0\]"),
        ([float("nan"), 0, 0], "returned"),
        ([float("inf"), 0, 0], "returned"),
        (5, "returned no numbers"),
        ([1, 1], "for each of the 3 slices"),
        (["many", 0, 0], "returned no numbers"),
        ([None, 0, 0], "returned no numbers"),
    ],
)
def test_purchases_that_are_refused(answer, words):
    with pytest.raises(InvalidPurchaseError, match=words):
        OFFER.checked(answer, "mine")


def test_tensors_and_arrays_are_answers():
    for answer in itertools.chain([torch.tensor([3, 2, 1]), np.array([3, 2, 1]), (3, 2, 1)]):
        assert OFFER.checked(answer, "mine") == [3, 2, 1]
