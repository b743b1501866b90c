import math
from dataclasses import replace

import pytest

from redwood.experiments.bench.scores import problem_of, quality, rate_ratios, score_bench, speed, statistic_of
from redwood.experiments.bench.suite import Bench

BENCH = Bench("one", "class_incremental", "finetune", seeds=2)


def ended(score=0.5, rates=(100.0,), share=True, **metrics):
    data = [{"event": "data", "rate": rate} for rate in rates]
    result = {"event": "data", "metrics": metrics, "objective": score, "share": share}
    return [{"event": "start"}, *data, result, {"event": "end", "rc": 0}]


def scored(bench=BENCH, **runs):
    return score_bench(bench, {f"{bench.name}-{run}": events for run, events in runs.items()})


class TestStatistic:
    def test_seven_known_rates_lose_the_least_and_the_greatest(self):
        # Of 1 2 4 6 8 10 1000 stay 2 4 6 8 10: mean 6, squares 16 + 4 + 0 + 4 + 16 over 4 = 10.
        found = statistic_of([6, 1000, 2, 8, 1, 10, 4], trimmed=True)
        assert (found.mean, found.n) == (6, 5)
        assert found.deviation == pytest.approx(math.sqrt(10))
        assert found.error == pytest.approx(math.sqrt(2))

    def test_four_are_all_kept(self):
        assert statistic_of([1, 2, 3, 1000], trimmed=True).mean == 251.5

    def test_untrimmed(self):
        assert statistic_of([1, 2, 3, 4, 100]).mean == 22

    def test_one_and_none(self):
        assert (statistic_of([3]).deviation, statistic_of([3]).error) == (0, 0)
        assert statistic_of([]) is None


class TestProblems:
    @pytest.mark.parametrize(
        ("events", "problem"),
        [
            ([], "did not run"),
            ([{"event": "start"}], "did not end"),
            ([{"event": "end", "rc": 1, "reason": "It broke."}], "failed: It broke."),
            (ended(score=math.nan), "produced objective that is no finite number"),
            (ended(loss=math.inf), "produced metrics that is no finite number"),
            ([{"event": "data", "loss": math.nan}, *ended()], "produced loss that is no finite number"),
            (ended(rates=()), "has no rate"),
            ([{"event": "data", "rate": 1.0}, {"event": "end", "rc": 0}], "has no result"),
            (ended(), None),
        ],
    )
    def test_each(self, events, problem):
        assert problem_of(events) == problem

    def test_a_run_without_events_counts_as_failed(self):
        found = scored(seed0=ended())
        assert (found.failed, found.passed, found.problems) == (1, False, ("one-seed1 did not run",))
        assert found.objective.mean == 0.5

    def test_all_failed(self):
        found = scored()
        assert (found.failed, found.objective, found.rate) == (2, None, None)

    @pytest.mark.parametrize(
        ("limits", "problem"),
        [
            ((0.6, None), "one has forgetting 0.5, expected in [0.6, inf]"),
            ((None, 0.4), "one has forgetting 0.5, expected in [-inf, 0.4]"),
            ((0.5, 0.5), None),
        ],
    )
    def test_expectations(self, limits, problem):
        bench = replace(BENCH, expect={"forgetting": limits})
        found = scored(bench, seed0=ended(forgetting=0.4), seed1=ended(forgetting=0.6))
        assert found.problems == (() if problem is None else (problem,))
        assert found.failed == 0

    def test_an_expected_metric_that_is_not_there(self):
        found = scored(replace(BENCH, expect={"f1": (0, 1)}), seed0=ended(), seed1=ended(forgetting=None))
        assert found.problems == ("one has no f1, of which something is expected",)


class TestScores:
    def three(self, rate=100.0):
        a = scored(replace(BENCH, name="a", weight=2.0), seed0=ended(0.4, [rate]), seed1=ended(0.6, [rate]))
        b = scored(replace(BENCH, name="b"), seed0=ended(0.8, [50.0]))
        c = scored(replace(BENCH, name="c"), seed0=ended(9.0, share=False), seed1=ended(9.0, share=False))
        return [a, b, c]

    def test_quality_is_a_weighted_mean_in_which_failed_runs_count_as_0(self):
        assert quality(self.three()) == pytest.approx((2 * 0.5 + 0.8 * 0.5) / 3)

    def test_a_bench_that_did_not_run_drags_the_quality_down(self):
        assert quality([*self.three()[:1], scored(replace(BENCH, name="d", weight=2.0))]) == pytest.approx(0.25)

    def test_returns_have_no_part_in_it_whether_their_runs_fail_or_not(self):
        failed = scored(Bench("agent", "incremental_rl", "dqn", weight=5.0))
        assert quality([*self.three(), failed]) == quality(self.three())

    def test_no_shares_no_quality(self):
        assert quality(self.three()[2:]) is None

    def test_speed_is_a_weighted_geometric_mean_of_ratios(self):
        now, before = self.three(rate=400.0), self.three(rate=100.0)
        assert rate_ratios(now, before) == {"a": 4.0, "b": 1.0, "c": 1.0}
        assert speed(now, before) == pytest.approx((4.0**2 * 1 * 1) ** (1 / 4))

    def test_runs_that_fail_make_nothing_faster(self):
        """The slow run fails: the other one alone is no progress. Milabench multiplies by the share that succeeded."""
        before = [scored(BENCH, seed0=ended(rates=[100.0]), seed1=ended(rates=[50.0]))]
        assert rate_ratios([scored(BENCH, seed0=ended(rates=[100.0]))], before) == {"one": pytest.approx(50 / 75)}

    def test_with_itself(self):
        assert speed(self.three(), self.three()) == 1.0

    def test_a_bench_without_rate_now_makes_it_0_and_one_without_before_is_left_out(self):
        nothing = [scored(replace(BENCH, name="a"))]
        assert speed(nothing, self.three()) == 0
        assert speed(self.three(), nothing) is None
        assert rate_ratios(self.three(), nothing) == {}
