import math

import numpy as np
import pytest

from redwood.settings.errors import InvalidOptionError
from redwood.settings.results import Results
from redwood.settings.rl.incremental import IncrementalRLSetting, TaskIncrementalRLSetting
from redwood.settings.rl.metrics import area_under_curve, forward_transfer_from_areas, normalised
from redwood.settings.rl.online import OnlineReturn
from redwood.settings.rl.results import ReturnResults
from tests.settings.rl.clock import LIMIT, Recorder, clock, record


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
        assert area_under_curve(curve, 2) == [2.0, 6.0]

    def test_nothing_measured(self):
        assert np.isnan(area_under_curve([], 2)).all()

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

    def test_no_episode(self):
        assert OnlineReturn(10).curve() == []


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


class TestReference:
    def with_reference(self, tmp_path, setting=IncrementalRLSetting, **options):
        clock(IncrementalRLSetting).apply(Recorder(), quiet=True, run_dir=str(tmp_path / "reference"))
        return record(clock(setting, reference=str(tmp_path), **options))[0]

    def test_a_method_is_its_own_equal(self, tmp_path):
        results = self.with_reference(tmp_path, TaskIncrementalRLSetting)
        assert results.metrics["normalised_return"] == pytest.approx(1)
        assert results.reference["returns"] == pytest.approx([LIMIT * gain for gain in self.gains()])
        # Its areas are those of the reference, which leaves nothing to gain.
        assert results.metrics["forward_transfer"] in (None, pytest.approx(0))
        assert Results.from_dict(results.to_dict()).to_dict() == results.to_dict()

    def gains(self):
        return [task.values["gain"] for task in clock(IncrementalRLSetting)._made[1]]

    def test_other_tasks_are_refused(self, tmp_path):
        with pytest.raises(InvalidOptionError, match=r"was run with --task_noise 0\.2, this run has 0\.5"):
            self.with_reference(tmp_path, task_noise=0.5)

    def test_another_seed_is_refused(self, tmp_path):
        with pytest.raises(InvalidOptionError, match="holds no run with --seed 9"):
            self.with_reference(tmp_path, seed=9)
