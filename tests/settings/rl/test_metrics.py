import math
from functools import partial
from itertools import pairwise

import numpy as np
import pytest

from redwood.settings.rl.budget import OnlineReturn
from redwood.settings.rl.metrics import (
    area_under_curve,
    forgetting,
    forward_transfer_from_areas,
    normalised,
)
from redwood.settings.rl.results import ReturnResults
from redwood.settings.rl.tree import IncrementalRLSetting
from redwood.settings.scores.results import Results
from tests.settings.rl.clock import Clock, clock, record


class Ending(Clock):
    """Its episodes end by themselves after some steps."""

    def __init__(self, n):
        super().__init__()
        self._n = n

    def reset(self, **options):
        self._left = self._n
        return super().reset(**options)

    def step(self, action):
        self._left -= 1
        observation, reward, _, truncated, info = super().step(action)
        return observation, reward, self._left == 0, truncated, info


class TestNormalised:
    def test_random_actions_get_0_and_the_reference_1(self):
        assert normalised([20, 500, 260], [20, 20, 20], [500, 500, 500]).tolist() == [0, 1, 0.5]

    def test_returns_may_be_negative(self):
        assert normalised([-200, -1200], [-1200, -1200], [-200, -200]).tolist() == [1, 0]

    def test_a_reference_that_is_no_better_than_random_actions_is_no_scale(self):
        assert math.isnan(normalised([5], [10], [10])[0])


class TestAreas:
    def test_values_hold_back_to_the_point_before(self):
        curve = [(5, 1.0), (10, 3.0), (12, 10.0), (20, 5.0)]
        assert area_under_curve(curve, 2, 10) == [2.0, 6.0]

    def test_nothing_measured(self):
        assert np.isnan(area_under_curve([], 2, 10)).all()

    @pytest.mark.parametrize("empty", [0, 1, 2])
    def test_a_phase_without_an_episode_is_not_confused_with_its_neighbours(self, empty):
        curve = [point for phase in range(3) if phase != empty for point in self.points(phase)]
        areas = area_under_curve(curve, 3, 10)
        assert np.isnan(areas[empty])
        assert [areas[phase] for phase in range(3) if phase != empty] == [
            1.6 + phase for phase in range(3) if phase != empty
        ]

    def points(self, phase):
        return [(10 * phase + 4, 1.0 + phase), (10 * phase + 10, 2.0 + phase)]

    def test_the_curve_of_a_run_keeps_the_place_of_such_a_phase(self):
        env = [partial(Ending, 5), partial(Ending, 1000), partial(Ending, 4)]
        results, _ = record(IncrementalRLSetting(env=env, steps_per_task=20, max_episode_steps=50, test_episodes=1))
        assert results.online_curve[-1][0] == 60
        assert not any(20 < step <= 40 for step, _ in results.online_curve)
        assert results.areas == pytest.approx([10, np.nan, 8], nan_ok=True)


class TestForgetting:
    def test_is_what_was_lost_since_training(self):
        assert forgetting([[100, 0, 9], [120, 50, 9], [90, 30, 80]]) == pytest.approx((10 + 20 + 0) / 3)

    def test_negative_if_earlier_tasks_improved(self):
        assert forgetting([[1, 0], [3, 9]]) == -1

    def test_one_phase(self):
        assert forgetting([[7]]) == 0
        assert forgetting([[7, 8]]) is None

    def test_results_have_it(self):
        results = ReturnResults(setting="incremental_rl", method="ppo", dataset="any", seed=0, num_phases=2)
        assert results.metrics["forgetting"] is None
        results.accuracy_matrix = [[5, 0], [1, 9]]
        assert results.metrics["forgetting"] == 2


class TestForwardTransfer:
    def test_forward_transfer_is_continual_worlds(self):
        expected = ((0.8 - 0.5) / 0.5 + (0.2 - 0.6) / 0.4) / 2
        assert forward_transfer_from_areas([0.8, 0.2], [0.5, 0.6]) == pytest.approx(expected)
        assert forward_transfer_from_areas([0.5], [1.0]) is None


class TestOnlineReturn:
    def test_points_are_means_of_the_episodes_that_ended(self):
        online = OnlineReturn(100)
        for step, value in ((1, 4.0), (2, 6.0), (3, 10.0), (98, 1.0)):
            online.add(step, value)
        assert online.curve() == [(2, 5.0), (4, 10.0), (100, 1.0)]

    def test_an_episode_belongs_to_the_bin_that_holds_its_last_step(self):
        """120 steps have 50 bins, which end at 2, 4, 7, 9, 12, ...: step 3 is in the second, step 5 in the third."""
        online = OnlineReturn(120)
        for step in (2, 3, 5, 8, 120):
            online.add(step, float(step))
        assert online.curve() == [(2, 2.0), (4, 3.0), (7, 5.0), (9, 8.0), (120, 120.0)]

    @pytest.mark.parametrize("steps", [1, 7, 49, 50, 51, 99, 101, 120, 10_241])
    def test_no_step_is_cut_off(self, steps):
        """Each step ends an episode that returns its number: the means say which steps a bin holds."""
        online = OnlineReturn(steps)
        for step in range(1, steps + 1):
            online.add(step, float(step))
        curve = online.curve()
        ends = [0, *(end for end, _ in curve)]
        assert ends[-1] == steps
        assert len(curve) == min(50, steps)
        assert set(np.diff(ends)) <= {steps // len(curve), -(-steps // len(curve))}
        assert [value for _, value in curve] == [(a + 1 + b) / 2 for a, b in pairwise(ends)]

    def test_steps_of_several_workers_are_counted_together(self, monkeypatch):
        online = OnlineReturn(10)
        workers = [([1, 5, 10], [1.0, 5.0, 10.0]), ([5, 6], [7.0, 6.0])]
        monkeypatch.setattr("redwood.settings.rl.budget.gather_objects", lambda own: workers)
        monkeypatch.setattr("redwood.settings.rl.budget.world_size", lambda: 2)
        assert online.curve() == [(2, 1.0), (10, 6.0), (12, 6.0), (20, 10.0)]

    def test_no_episode(self):
        assert OnlineReturn(10).curve() == []
        assert OnlineReturn(10).span() == 10


@pytest.fixture(scope="module")
def results():
    return record(clock(IncrementalRLSetting))[0]


class TestResults:
    def test_names(self, results):
        assert list(results.metrics) == [
            "average_return",
            "average_incremental_return",
            "forgetting",
            "backward_transfer",
            "forward_transfer",
            "online_return",
            "normalised_return",
        ]
        assert results.metrics["forgetting"] == pytest.approx(0)
        assert results.metrics["forward_transfer"] is results.metrics["normalised_return"] is None

    def test_the_file_holds_all_of_it(self, results, tmp_path):
        results.save(tmp_path / "results.json")
        loaded = Results.load(tmp_path / "results.json")
        assert isinstance(loaded, ReturnResults)
        assert loaded.to_dict() == results.to_dict()
        assert loaded.random_return == results.random_return
