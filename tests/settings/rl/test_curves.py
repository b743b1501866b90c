"""Metrics of curves, equal to the definitions of Continual World and to the code of CORA on curves made by hand."""

import numpy as np
import pytest

from redwood.settings.rl.metrics import (
    areas_of_trained,
    average_performance,
    changes_by_phase,
    forgetting_by_phase,
    forward_transfer_from_areas,
    isolated_forgetting,
    mean_by_cycle,
    performance_over_time,
    zero_shot_transfer,
)

# Two tasks of 10 steps, measured after every 5 steps and before the first.
STEPS = [0, 5, 10, 15, 20]
SUCCESS = np.array([[0.0, 0.2], [0.4, 0.2], [0.8, 0.1], [0.5, 0.6], [0.3, 1.0]])


class TestContinualWorld:
    def test_average_performance_is_the_mean_over_all_tasks_also_those_to_come(self):
        assert average_performance(SUCCESS).tolist() == pytest.approx([0.1, 0.3, 0.45, 0.55, 0.65])

    def test_the_area_is_the_mean_of_the_evaluations_within_the_tasks_own_steps(self):
        # `calculate_forward_transfer` groups the evaluations by `train/active_env`, and takes their mean.
        assert areas_of_trained(STEPS, SUCCESS, [0, 1], 10) == pytest.approx([(0.4 + 0.8) / 2, (0.6 + 1.0) / 2])

    def test_points_that_are_not_evenly_spaced_count_for_the_steps_since_the_last_one(self):
        assert areas_of_trained([0, 2, 10], np.array([[0.0], [1.0], [0.5]]), [0], 10) == pytest.approx([0.6])

    def test_forward_transfer_of_the_areas(self):
        # `normalized_ft`: (0.6 - 0.5) / (1 - 0.5) = 0.2 and (0.8 - 0.9) / (1 - 0.9) = -1, of which -0.4 is the mean.
        areas = areas_of_trained(STEPS, SUCCESS, [0, 1], 10)
        assert forward_transfer_from_areas(areas, [0.5, 0.9]) == pytest.approx(-0.4)

    def test_forgetting_of_each_task(self):
        # F_i = p_i(i Delta) - p_i(T): 0.8 - 0.3, and 0 for the last task.
        assert forgetting_by_phase(SUCCESS[[2, 4]]).tolist() == pytest.approx([0.5, 0.0])

    def test_forgetting_of_tasks_that_come_back_counts_from_each_visit(self):
        R = [[0.8, 0.0], [0.3, 1.0], [0.9, 0.5], [0.6, 0.7]]
        assert forgetting_by_phase(R, [0, 1, 0, 1]).tolist() == pytest.approx([0.2, 0.3, 0.3, 0.0])

    def test_the_performance_over_time_leaves_the_untrained_agent_out(self):
        assert performance_over_time(STEPS, SUCCESS, 20) == pytest.approx((0.3 + 0.45 + 0.55 + 0.65) / 4)

    def test_a_task_that_was_not_tested_leaves_no_performance_over_time(self):
        values = SUCCESS.copy()
        values[1, 1] = np.nan
        assert performance_over_time(STEPS, values, 20) is None


# Points of three tasks of 10 steps: at 0, and in the middle and at the end of each phase.
CORA_STEPS = [0, 5, 10, 15, 20, 25, 30]
CORA_RETURNS = np.array(
    [
        [1.0, -4.0, 0.0],
        [6.0, -4.0, 1.0],
        [10.0, -2.0, 1.0],
        [12.0, 1.0, 3.0],
        [7.0, 8.0, 2.0],
        [4.0, 6.0, 3.0],
        [3.0, 4.0, 5.0],
    ]
)
# Scaled by 12, 8 and 5.
FORGETTING = [[None, None, None], [3 / 12, None, None], [4 / 12, 4 / 8, None]]
TRANSFER = [[None, 2 / 8, 1 / 5], [None, None, 1 / 5], [None, None, None]]


class TestCORA:
    """The expected numbers come from `Metrics.compute_metrics` of AGI-Labs/continual_rl, continual_rl/utils/metrics.py.

    It was given three tasks of 10 steps, with points just before the ends of the phases instead of at them:
    `compute_forgetting_metric(list(zip(xs, ys)), 10, task, 3, 1, 1 / max|ys|)` for each task, and
    `compute_forward_transfer_metric(..., 10, range(task), 1 / max|ys|)`.
    """

    @pytest.fixture
    def changes(self):
        return changes_by_phase(CORA_STEPS, CORA_RETURNS, 3, 10)

    def test_isolated_forgetting(self, changes):
        expected = np.array(FORGETTING, dtype=float)
        assert isolated_forgetting(changes, [0, 1, 2]) == pytest.approx(expected, nan_ok=True)

    def test_zero_shot_transfer_starts_from_the_untrained_agent(self, changes):
        expected = np.array(TRANSFER, dtype=float)
        assert zero_shot_transfer(changes, [0, 1, 2]) == pytest.approx(expected, nan_ok=True)

    def test_the_corners_of_their_tables_are_means_over_all_pairs(self, changes):
        assert mean_by_cycle(isolated_forgetting(changes, [0, 1, 2]), [0, 1, 2]) == pytest.approx([13 / 36])
        assert mean_by_cycle(zero_shot_transfer(changes, [0, 1, 2]), [0, 1, 2]) == pytest.approx([13 / 60])

    def test_cycles(self):
        # Two tasks, twice; the scale is 10 for both. In the second cycle a phase also changes its own task.
        returns = np.array([[0.0, 0.0], [10.0, 1.0], [4.0, 10.0], [9.0, 6.0], [8.0, 9.0]])
        changes = changes_by_phase([0, 10, 20, 30, 40], returns, 4, 10)
        lost = isolated_forgetting(changes, [0, 1, 0, 1])
        assert lost == pytest.approx(np.array([[np.nan, np.nan], [0.6, np.nan], [-0.5, 0.4], [0.1, -0.3]]), nan_ok=True)
        assert mean_by_cycle(lost, [0, 1, 0, 1]) == pytest.approx([0.6, (-0.5 + 0.4 + 0.1 - 0.3) / 4])
        assert mean_by_cycle(zero_shot_transfer(changes, [0, 1, 0, 1]), [0, 1, 0, 1]) == [pytest.approx(0.1), None]

    def test_a_task_that_never_paid_has_no_scale(self):
        changes = changes_by_phase([0, 10, 20], np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0]]), 2, 10)
        assert np.isnan(changes[:, 1]).all()
        assert changes[:, 0].tolist() == [1.0, 0.0]

    def test_no_untrained_agent_leaves_the_first_phase_out(self):
        changes = changes_by_phase([10, 20], np.array([[1.0, 2.0], [1.0, 4.0]]), 2, 10)
        assert np.isnan(changes[0]).all()
        assert changes[1].tolist() == [0.0, 0.5]
