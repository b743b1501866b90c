"""Methods on the acquisition setting: what they buy, and what they start a round from."""

import numpy as np
import pytest
import torch

from redwood.core.errors import InvalidOptionError, NotApplicableError
from redwood.methods import SliceTuner, Uniform, WaterFilling
from redwood.methods.acquisition.curves import PowerLaw
from redwood.settings.acquisition.offer import Offer
from tests.small_runs import run_here, small_setting

QUICK = {"subsets": 3, "repeats": 1, "curve_held_out": 0.4}
INITIAL = [4, 5, 6, 7, 8, 4, 5, 6, 7, 8]


def tuned(**options):
    return SliceTuner(**QUICK | options)


def offer(**fields):
    usual = {"round": 0, "rounds_left": 3, "budget": 90.0, "names": ("a", "b", "c"), "sizes": (10, 20, 60)}
    return Offer(**usual | {"costs": (1.0,) * 3, "pool": (1000,) * 3} | fields)


CURVES = [PowerLaw(4.0, 0.5), PowerLaw(4.0, 0.5), PowerLaw(4.0, 0.5)]


class TestPurchases:
    @pytest.mark.parametrize("make", [Uniform, WaterFilling, tuned])
    def test_the_budget_is_spent(self, make):
        results = run_here(small_setting("acquisition", initial=INITIAL), make())
        assert sum(results.spent) == 24
        assert np.sum(results.purchases) == 24

    def test_uniform_and_water_filling(self):
        setting = small_setting("acquisition", initial=INITIAL, budget=20.0)
        assert run_here(setting, Uniform()).purchases == [[1] * 10] * 2
        assert run_here(setting, WaterFilling()).slice_sizes[-1] == [8] * 10

    def test_a_round_changes_the_imbalance_by_so_much(self):
        for change, number, most in (("conservative", 2, 1), ("moderate", 2, 3), ("aggressive", 2, 4)):
            bought = tuned(change=change).purchase(CURVES, offer(round=number, rounds_left=2))
            sizes = np.add((10, 20, 60), bought)
            assert 6 - sizes.max() / sizes.min() == pytest.approx(most, abs=0.35)

    def test_the_last_round_spends_all(self):
        assert sum(tuned(change="conservative").purchase(CURVES, offer(rounds_left=1))) == 90

    def test_alike_curves_are_filled_to_one_level(self):
        assert tuned().purchase(CURVES, offer(rounds_left=1)) == [50, 40, 0]

    def test_a_slice_without_a_curve_means_equal_shares_and_is_told(self):
        with pytest.warns(UserWarning, match="no learning curve fits slice b; give more"):
            assert tuned().purchase([CURVES[0], None, CURVES[2]], offer()) == [10, 10, 10]

    def test_one_sample_of_each_slice_at_the_start(self):
        with pytest.warns(UserWarning, match="no learning curve fits slice 0"):
            results = run_here(small_setting("acquisition", initial=[1], budget=40.0, rounds=1), tuned())
        assert results.purchases == [[4] * 10]


class TestWeights:
    def test_new_ones_in_each_round_or_those_of_the_round_before(self):
        starts = {}
        for choice in ("new", "keep"):
            method = Uniform(round_weights=choice)
            before = []
            fit = method.fit

            def noting(phase, method=method, before=before, fit=fit):
                before.append([p.detach().clone() for p in method.network.parameters()])
                fit(phase)
                before.append([p.detach().clone() for p in method.network.parameters()])

            method.fit = noting
            run_here(small_setting("acquisition"), method)
            starts[choice] = [
                all(torch.equal(a, b) for a, b in zip(before[i], before[i + 1], strict=True)) for i in (1, 3)
            ]
        assert starts == {"new": [False, False], "keep": [True, True]}


class TestCost:
    def test_curves_are_counted_as_search_and_not_in_the_last_phase(self):
        flops = run_here(small_setting("acquisition"), tuned()).cost.flops
        assert flops["search"][0] > 0 and flops["search"][1] > 0 and flops["search"][2] == 0
        without = run_here(small_setting("acquisition"), Uniform()).cost.flops
        assert sum(without["search"]) == 0 and without["training"][0] == flops["training"][0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"change": "wild"}, "--change wild is unknown"),
        ({"subsets": 2}, "--subsets 2 has to be at least 3"),
        ({"repeats": 0}, "--repeats 0 has to be at least 1"),
        ({"curve_held_out": 0.0}, "--curve_held_out 0.0 has to be greater than 0"),
        ({"balance": -1.0}, "--balance -1.0 has to be at least 0"),
        ({"round_weights": "old"}, "--round_weights old is unknown"),
    ],
)
def test_bad_input(options, words):
    with pytest.raises(InvalidOptionError, match=words):
        SliceTuner(**options)


@pytest.mark.parametrize("options", [{"passes": 1}, {"workers": 2}])
def test_it_needs_a_look_at_the_samples_by_one_worker(options):
    with pytest.raises(NotApplicableError, match="requires"):
        small_setting("acquisition", **options).apply(SliceTuner(), quiet=True)
