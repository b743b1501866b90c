"""Methods on the acquisition setting: what they buy, and what they start a round from."""

import re
import warnings

import numpy as np
import pytest
import torch

from redwood.branches.acquisition.buyers import Uniform, WaterFilling
from redwood.branches.acquisition.curves import PowerLaw
from redwood.branches.acquisition.offer import Offer
from redwood.branches.acquisition.slice_tuner import SliceTuner
from redwood.core.errors import InvalidOptionError, NotApplicableError
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
            bought = tuned(change=change).purchase(CURVES, offer(round=number, rounds_left=6))
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

    def test_rounds_that_are_too_few_share_the_change_of_the_imbalance(self):
        """Slices of 6 to 45 samples in three rounds: conservative bought 2, 3 and 195 of 200, without a word."""
        sizes, budget, changes, spent = np.array([6, 10, 15, 19, 23, 28, 32, 36, 41, 45]), 200.0, [], []
        fields = {"names": tuple("abcdefghij"), "costs": (1.0,) * 10, "pool": (1000,) * 10}
        for number in range(3):
            now = offer(round=number, rounds_left=3 - number, budget=budget, sizes=tuple(sizes.tolist()), **fields)
            with warnings.catch_warnings(record=True) as told:
                bought = tuned(change="conservative").purchase([PowerLaw(4.0, 0.5)] * 10, now)
            expected = (
                "--change conservative lets a round change the imbalance ratio by .* at first instead of by 1, as"
            )
            assert [bool(re.match(expected, str(one.message))) for one in told] == [True] * (number == 0)
            before, sizes = sizes, sizes + bought
            changes.append(before.max() / before.min() - sizes.max() / sizes.min())
            spent.append(sum(bought))
            budget -= spent[-1]
        assert changes == pytest.approx([sum(changes) / 3] * 3, abs=0.5)
        assert sum(spent) == 200 and spent[0] > 10 and spent[1] > 10

    def test_rounds_enough_keep_the_papers_change_without_a_word(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            bought = tuned(change="conservative").purchase(CURVES, offer(rounds_left=5))
        sizes = np.add((10, 20, 60), bought)
        assert 6 - sizes.max() / sizes.min() == pytest.approx(1, abs=0.35)

    def test_a_slice_whose_losses_did_not_fall_is_told(self):
        with pytest.warns(UserWarning, match="The losses of slice b did not fall with more samples"):
            assert tuned().purchase([CURVES[0], PowerLaw(9.0, 1e-9), CURVES[2]], offer(rounds_left=1)) == [70, 0, 20]


class TestCurves:
    def test_later_rounds_add_one_size_to_each_curve(self):
        """K + U - 1 trainings for K parts and U rounds, and not K times U."""
        method, counts, trained = tuned(subsets=4, repeats=2), [], []
        measure, make = method.measure, method._new_learner
        method._new_learner = lambda: trained.append(1) or make()

        def noting(*given, **options):
            found = measure(*given, **options)
            counts.append((len(trained), [len(points.sizes) for points in found]))
            return found

        method.measure = noting
        run_here(small_setting("acquisition", initial=[7], rounds=3), method)
        assert [number for number, _ in counts] == [8, 10, 12]
        assert [sizes for _, sizes in counts[1:]] == [[1] * 10] * 2
        assert [len(sizes) for sizes, _ in method.points] == [4 + 2] * 10


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


def test_options_without_effect_are_refused():
    with pytest.raises(InvalidOptionError, match="--change aggressive has no effect with --rounds 1, which spends"):
        run_here(small_setting("acquisition", rounds=1), tuned(change="aggressive"))
    with pytest.raises(InvalidOptionError, match=r"--curve_held_out 0\.4 has no effect with validation samples"):
        run_here(small_setting("acquisition", validation=0.4), tuned())


@pytest.mark.parametrize("options", [{"passes": 1}, {"workers": 2}])
def test_it_needs_a_look_at_the_samples_by_one_worker(options):
    with pytest.raises(NotApplicableError, match="requires"):
        small_setting("acquisition", **options).apply(SliceTuner(), quiet=True)
