import math
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from redwood.engine.pair_results import PairResults
from redwood.engine.significance import (
    BEST,
    BOOTSTRAP_FROM,
    LEVEL,
    SIMILAR,
    UNKNOWN,
    WORSE,
    holm,
    least_p,
    mean_interval,
    paired_p,
    significance_of,
    units_needed,
)
from redwood.settings.scores.results import RegressionResults, Results

RNG = np.random.default_rng(0)


def run(score, seed, order=None, kind=Results):
    config = {} if order is None else {"class_order_seed": order}
    matrix = [[score]]
    return kind(setting="s", method="m", dataset="d", seed=seed, num_phases=1, accuracy_matrix=matrix, config=config)


def row(method, scores, kind=Results, setting="s", ran_under=None):
    """A pair whose runs have these scores: a list by seeds, or a dictionary by seed and class order."""
    if not isinstance(scores, dict):
        scores = {(seed, None): score for seed, score in enumerate(scores)}
    results = [run(score, *key, kind=kind) for key, score in scores.items()]
    return PairResults(setting, method, results, ran_under=ran_under)


class TestMeanInterval:
    def test_few_values_have_students_interval(self):
        values = RNG.normal(size=5)
        assert mean_interval(values) == pytest.approx(
            stats.t.interval(0.95, 4, values.mean(), stats.sem(values)), rel=1e-9
        )

    def test_many_values_have_the_bootstraps_which_leans_to_the_long_tail(self):
        values = np.r_[np.zeros(BOOTSTRAP_FROM - 1), 1.0] + 0.01 * np.arange(BOOTSTRAP_FROM)
        low, high = mean_interval(values)
        assert low < values.mean() < high
        assert high - values.mean() > 1.5 * (values.mean() - low)

    def test_the_same_values_have_the_same_interval(self):
        values = RNG.normal(size=20)
        assert mean_interval(values) == mean_interval(values)

    def test_a_lower_level_is_a_wider_interval(self):
        values = RNG.normal(size=12)
        (low, high), (lower, higher) = mean_interval(values), mean_interval(values, 0.01)
        assert lower < low < high < higher

    @pytest.mark.parametrize("n", [2, 3, BOOTSTRAP_FROM, 30])
    def test_equal_values_are_an_interval_of_no_width(self, n):
        assert mean_interval([0.1] * n) == pytest.approx((0.1, 0.1), abs=1e-12)

    @pytest.mark.parametrize("values", [[], [0.5]])
    def test_one_value_has_none(self, values):
        assert mean_interval(values) is None

    @pytest.mark.parametrize("n", [3, 5, 8, BOOTSTRAP_FROM, 20])
    @pytest.mark.few(2)
    def test_covers_the_mean_of_scores_below_a_ceiling(self, n):
        rng, times = np.random.default_rng(n), 300
        scores = rng.beta(8, 2, (times, n))
        covered = sum(low <= 0.8 <= high for low, high in map(mean_interval, scores))
        # Three standard deviations of the count, around the bar of 93 to 97 %.
        slack = 3 * math.sqrt(0.05 * 0.95 / times)
        assert 0.93 - slack <= covered / times <= 0.97 + slack


class TestPairedP:
    def test_one_sided_differences_reach_the_least_value(self):
        assert paired_p([0.1, 0.2, 0.3, 0.4, 0.5]) == least_p(5) == 1 / 16

    def test_by_hand(self):
        # Of the 8 sums of +-1 +-2 +-3, those as far from 0 as 1 + 2 - 3 = 0 are all; as 4 = -1 + 2 + 3, four.
        assert paired_p([1.0, 2.0, -3.0]) == 1.0
        assert paired_p([-1.0, 2.0, 3.0]) == 0.5

    def test_agrees_with_the_signed_rank_test_where_differences_are_ranks(self):
        differences = np.array([1, -2, 3, 4, 5, 6, 7, -8.0])
        expected = stats.wilcoxon(differences, method="exact").pvalue
        assert paired_p(differences) == pytest.approx(expected)

    def test_no_difference_at_all(self):
        assert paired_p(np.zeros(6)) == 1.0

    def test_many_units_are_drawn_the_same_way_each_time(self):
        differences = RNG.normal(0.3, size=25)
        assert paired_p(differences) == paired_p(differences)
        assert paired_p(np.arange(1.0, 26.0)) == least_p(25)

    def test_several_tests_at_once(self):
        differences = RNG.normal(size=(3, 5))
        assert paired_p(differences).tolist() == [paired_p(line) for line in differences]


class TestHolm:
    def test_example_of_the_definition(self):
        # Sorted .005 .011 .02 .04 times 4 3 2 1.
        assert holm([0.02, 0.005, 0.04, 0.011]) == pytest.approx([0.04, 0.02, 0.04, 0.033])

    def test_never_above_one_nor_falling(self):
        assert holm([0.6, 0.5, 0.9]) == [1.0, 1.0, 1.0]
        assert holm([0.01, 0.011, 0.012]) == pytest.approx([0.03, 0.03, 0.03])
        assert holm([]) == []


@pytest.mark.parametrize(("tests", "units"), [(1, 6), (3, 7), (28, 11)])
def test_units_needed(tests, units):
    assert units_needed(tests) == units
    assert tests * least_p(units) <= 0.05 < tests * least_p(units - 1)


def test_no_number_of_units_is_enough_for_thousands_of_tests():
    assert units_needed(5000) is None


class TestSignificance:
    def test_worse_and_similar(self):
        base = RNG.uniform(0.4, 0.6, 8)
        rows = [
            row("a", base),
            row("b", base + np.tile([0.01, -0.012], 4)),
            row("c", base - 0.2 - 0.01 * np.arange(8)),
        ]
        found = significance_of(rows)["s"]
        assert found.best == {"a"}
        assert found.marks == {"a": BEST, "b": SIMILAR, "c": WORSE}
        difference = found.difference("c", "a")
        assert (difference.first, difference.second, difference.n) == ("a", "c", 8)
        assert difference.mean == pytest.approx(0.235)
        assert difference.p == least_p(8)
        assert difference.p_holm == pytest.approx(3 * least_p(8))
        assert found.note == ""

    @pytest.mark.parametrize(("kind", "limits"), [(Results, (0.0, 1.0)), (RegressionResults, (0.0, math.inf))])
    def test_intervals_end_where_the_measure_ends(self, kind, limits):
        scores = {"a": [0.99, 1.0, 0.9], "b": [0.01, 0.0, 0.1]}
        found = significance_of([row(name, values, kind) for name, values in scores.items()])["s"]
        assert mean_interval(scores["a"])[1] > 1 and mean_interval(scores["b"])[0] < 0
        assert found.intervals["a"][1] == min(mean_interval(scores["a"])[1], limits[1])
        assert found.intervals["b"] == (0.0, mean_interval(scores["b"])[1])

    def test_intervals_of_changes_end_where_two_scores_differ_most(self):
        options = {"setting": "s", "method": "m", "dataset": "d", "num_phases": 2}
        runs = [
            Results(seed=seed, accuracy_matrix=[[1.0, 0.0], [value, 1.0]], **options)
            for seed, value in enumerate([0.0, 0.0, 0.3])
        ]
        found = significance_of([PairResults("s", "m", runs)], "forgetting")["s"]
        values = [run.metrics["forgetting"] for run in runs]
        assert mean_interval(values)[1] > 1 and found.intervals["m"] == (mean_interval(values)[0], 1.0)

    def test_lower_is_better(self):
        rows = [row(name, np.arange(8) + shift, RegressionResults) for name, shift in [("a", 1.0), ("b", 0.0)]]
        assert significance_of(rows)["s"].marks == {"a": WORSE, "b": BEST}

    def test_five_seeds_say_that_they_are_too_few(self):
        found = significance_of([row("a", np.ones(5)), row("b", np.zeros(5))])["s"]
        assert found.marks == {"a": BEST, "b": UNKNOWN}
        assert found.note == "5 seeds can show nothing below p = 0.062; use at least 6"

    def test_more_methods_need_more_seeds(self):
        rows = [row(str(number), np.full(6, number / 10)) for number in range(5)]
        note = significance_of(rows)["s"].note
        assert "10 pairs of methods need p = 0.005 (Holm); use at least 9" in note

    def test_one_run_shows_nothing(self):
        found = significance_of([row("a", [0.5]), row("b", [0.4])])["s"]
        assert found.marks == {"a": BEST, "b": UNKNOWN}
        assert found.intervals == {"a": None, "b": None}
        assert found.note == "1 seed cannot tell methods apart; use at least 6"

    def test_one_method_needs_no_test(self):
        found = significance_of([row("a", [0.5])])["s"]
        assert (found.marks, found.differences, found.note) == ({"a": BEST}, [], "")

    def test_equal_methods_are_all_best(self):
        assert set(significance_of([row("a", [0.5, 0.5]), row("b", [0.5, 0.5])])["s"].marks.values()) == {BEST}

    def test_only_common_seeds_count(self):
        rows = [row("a", {(seed, None): 0.5 for seed in range(6)}), row("b", {(s, None): 0.1 for s in range(4, 9)})]
        difference = significance_of(rows)["s"].differences[0]
        assert (difference.n, difference.p) == (2, 0.5)

    def test_no_common_seed(self):
        found = significance_of([row("a", {(0, None): 0.5}), row("b", {(1, None): 0.1})])["s"]
        assert math.isnan(found.differences[0].mean)
        assert found.marks["b"] == UNKNOWN

    def test_class_orders_are_the_units_and_seeds_within_are_averaged(self):
        keys = [(seed, order) for seed in range(3) for order in range(6)]
        better = {(s, o): 0.5 + 0.01 * o + 0.03 * (s - 1) for s, o in keys}
        rows = [row("a", better), row("b", dict.fromkeys(keys, 0.4))]
        found = significance_of(rows)["s"]
        assert (found.unit, found.units) == ("class order", 6)
        assert found.differences[0].n == 6
        assert found.differences[0].p == least_p(6)
        assert found.intervals["a"] == pytest.approx(mean_interval(0.5 + 0.01 * np.arange(6)))

    def test_one_class_order_leaves_seeds_as_units(self):
        found = significance_of([row("a", {(seed, 7): 0.5 for seed in range(3)})])["s"]
        assert (found.unit, found.units) == ("seed", 3)

    def test_an_upper_bound_is_not_compared(self):
        rows = [row("a", RNG.normal(0.5, 0.01, 8)), row("b", RNG.normal(0.4, 0.01, 8))]
        bound = row("c", [0.9] * 8, ran_under="below")
        alone, beside = significance_of(rows)["s"], significance_of([*rows, bound])["s"]
        assert beside.differences == alone.differences and beside.best == alone.best == {"a"}
        assert beside.marks == {**alone.marks, "c": ""} and beside.intervals["c"] == pytest.approx((0.9, 0.9))
        assert significance_of([bound])["s"].best == frozenset()

    def test_settings_are_apart_and_pairs_without_results_left_out(self):
        rows = [row("a", [0.5]), row("a", [0.1], setting="t"), PairResults("t", "b", failure="no"), row("b", [0.4])]
        found = significance_of(rows)
        assert {setting: set(one.marks) for setting, one in found.items()} == {"s": {"a", "b"}, "t": {"a"}}


def test_equal_methods_are_rarely_told_apart():
    rng, times, methods, n = np.random.default_rng(0), 400, 4, 8
    scores = rng.normal(0, 0.05, (times, 1, n)) + rng.gamma(4, 0.01, (times, methods, n))
    first, second = np.array(list(combinations(range(methods), 2))).T
    wrong = sum(min(holm(p)) <= LEVEL for p in paired_p(scores[:, first] - scores[:, second]).tolist())
    assert 0 < wrong / times <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / times)
