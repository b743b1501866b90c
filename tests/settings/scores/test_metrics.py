import numpy as np
import pytest

from redwood.settings.scores.metrics import (
    average_accuracy,
    average_accuracy_curve,
    average_incremental_accuracy,
    backward_transfer,
    forgetting,
    forward_transfer,
    online_accuracy,
    transfer_to_last,
)

# Task 1 peaks after phase 2, above its diagonal value, so that forgetting differs from -BWT; task 0 and task 2 differ
# above the diagonal, so that forward transfer depends on each entry it reads.
R = [
    [0.9, 0.2, 0.1, 0.0],
    [0.6, 0.7, 0.3, 0.2],
    [0.5, 0.8, 0.9, 0.4],
    [0.3, 0.5, 0.7, 1.0],
]
INDEPENDENT = [[0.8, 0.5, 0.5, 0.5], [0.8, 0.6, 0.5, 0.5], [0.8, 0.6, 0.7, 0.5], [0.8, 0.6, 0.7, 0.75]]
UNTRAINED = [0.5, 0.1, 0.2, 0.1]
SINGLE_PHASE = [[0.2, 0.4, 0.9]]
SINGLE_TASK = [[0.8]]


class TestAverageAccuracy:
    def test_mean_of_the_last_row(self):
        assert average_accuracy(R) == pytest.approx((0.3 + 0.5 + 0.7 + 1.0) / 4)

    def test_single_phase_averages_over_all_tasks(self):
        assert average_accuracy(SINGLE_PHASE) == pytest.approx(0.5)

    def test_total_forgetting(self):
        assert average_accuracy(np.eye(4)) == 0.25


class TestAverageIncrementalAccuracy:
    def test_curve_ignores_tasks_not_learned_yet(self):
        expected = [0.9, (0.6 + 0.7) / 2, (0.5 + 0.8 + 0.9) / 3, (0.3 + 0.5 + 0.7 + 1.0) / 4]
        assert average_accuracy_curve(R) == pytest.approx(expected)

    def test_mean_of_the_curve(self):
        assert average_incremental_accuracy(R) == pytest.approx((0.9 + 0.65 + 2.2 / 3 + 0.625) / 4)

    def test_single_phase_is_the_average_accuracy(self):
        assert average_incremental_accuracy(SINGLE_PHASE) == average_accuracy(SINGLE_PHASE)
        assert average_accuracy_curve(SINGLE_PHASE) == pytest.approx([0.5])


class TestForgetting:
    def test_maximum_over_earlier_phases(self):
        assert forgetting(R) == pytest.approx(((0.9 - 0.3) + (0.8 - 0.5) + (0.9 - 0.7)) / 3)

    def test_total_forgetting(self):
        assert forgetting(np.eye(3)) == 1.0

    def test_a_task_that_cannot_be_scored_does_not_count(self):
        nan = np.nan
        assert forgetting([[0.9, nan, 0.0], [0.5, nan, 0.0], [0.3, nan, 1.0]]) == pytest.approx(0.6)
        assert forgetting([[nan, 0.9], [nan, 0.9]]) is None

    def test_is_negative_when_the_last_phase_is_the_best(self):
        assert forgetting([[0.5, 0.0], [0.75, 0.9]]) == pytest.approx(-0.25)

    def test_phases_before_a_task_was_learned_count(self):
        # f_j = max over all l < T-1 in Chaudhry et al., so a lucky start on task 1 is part of the maximum.
        assert forgetting([[0.5, 0.9, 0.0], [0.5, 0.6, 0.0], [0.5, 0.6, 1.0]]) == pytest.approx(0.3 / 2)

    def test_edges(self):
        assert forgetting(SINGLE_TASK) == 0.0
        assert forgetting(SINGLE_PHASE) is None


class TestBackwardTransfer:
    def test_change_since_a_task_was_learned(self):
        assert backward_transfer(R) == pytest.approx(((0.3 - 0.9) + (0.5 - 0.7) + (0.7 - 0.9)) / 3)

    def test_total_forgetting(self):
        assert backward_transfer(np.eye(3)) == -1.0

    def test_edges(self):
        assert backward_transfer(SINGLE_TASK) == 0.0
        assert backward_transfer(SINGLE_PHASE) is None


class TestForwardTransfer:
    def test_gain_over_the_untrained_network(self):
        assert forward_transfer(R, UNTRAINED) == pytest.approx(((0.2 - 0.1) + (0.3 - 0.2) + (0.4 - 0.1)) / 3)

    def test_first_task_does_not_count(self):
        assert forward_transfer(R, [0.0, *UNTRAINED[1:]]) == forward_transfer(R, UNTRAINED)

    def test_edges(self):
        assert forward_transfer(R, None) is None
        assert forward_transfer(SINGLE_TASK, [0.1]) == 0.0
        assert forward_transfer(SINGLE_PHASE, [0.1, 0.1, 0.1]) is None

    def test_refuses_a_wrong_number_of_tasks(self):
        with pytest.raises(ValueError, match="4 tasks"):
            forward_transfer(R, [0.1, 0.1])


class TestOnlineAccuracy:
    def test_windows_are_weighted_by_their_samples(self):
        assert online_accuracy([(10, 0.2), (40, 0.6)]) == pytest.approx((10 * 0.2 + 30 * 0.6) / 40)

    def test_is_the_share_of_right_predictions_however_windows_are_cut(self):
        right = np.random.default_rng(0).random(100) < 0.7
        for cuts in ([100], [1, 2, 50, 100], list(range(1, 101))):
            starts = [0, *cuts[:-1]]
            curve = [(end, float(right[start:end].mean())) for start, end in zip(starts, cuts, strict=True)]
            assert online_accuracy(curve) == pytest.approx(right.mean())

    def test_nothing_measured(self):
        assert online_accuracy([]) is None


@pytest.mark.parametrize(
    "matrix",
    [
        [],
        [[]],
        [[0.1, 0.2], [0.3]],
        [[0.1, 0.2, 0.3], [0.1, 0.2, 0.3]],
        [[0.1], [0.2]],
        np.zeros((3, 0)),
    ],
    ids=["empty", "no tasks", "ragged", "2 of 3 phases", "more phases than tasks", "empty array"],
)
@pytest.mark.parametrize(
    "metric",
    [
        average_accuracy,
        average_incremental_accuracy,
        forgetting,
        backward_transfer,
        lambda matrix: forward_transfer(matrix, None),
    ],
)
def test_refuses_what_is_no_accuracy_matrix(metric, matrix):
    with pytest.raises(ValueError, match="accuracy matrix"):
        metric(matrix)


def test_lists_and_arrays_give_the_same_and_stay_as_they_were():
    array = np.array(R)
    for metric in (average_accuracy, average_incremental_accuracy, forgetting, backward_transfer):
        assert metric(R) == metric(array)
        assert isinstance(metric(array), float)
    assert (array == np.array(R)).all()


class TestTasksThatComeBack:
    """Tasks a b a b: four rows, one for each phase, and two columns."""

    R = ((0.9, 0.2), (0.6, 0.7), (0.8, 0.5), (0.4, 1.0))
    ORDER = (0, 1, 0, 1)

    def test_averages(self):
        assert average_accuracy(self.R, self.ORDER) == pytest.approx((0.4 + 1.0) / 2)
        expected = [0.9, (0.6 + 0.7) / 2, (0.8 + 0.5) / 2, (0.4 + 1.0) / 2]
        assert average_accuracy_curve(self.R, self.ORDER) == pytest.approx(expected)
        assert average_incremental_accuracy(self.R, self.ORDER) == pytest.approx(sum(expected) / 4)

    def test_forgetting_leaves_out_the_task_trained_last(self):
        assert forgetting(self.R, self.ORDER) == pytest.approx(0.9 - 0.4)
        assert forgetting(self.R[:3], self.ORDER[:3]) == pytest.approx(0.7 - 0.5)

    def test_backward_transfer_counts_from_the_last_phase_of_a_task(self):
        assert backward_transfer(self.R, self.ORDER) == pytest.approx(0.4 - 0.8)

    def test_forward_transfer_counts_up_to_the_first_phase_of_a_task(self):
        assert forward_transfer(self.R, [0.5, 0.1], self.ORDER) == pytest.approx(0.2 - 0.1)

    def test_one_task_again_and_again(self):
        R, order = [[0.5], [0.9]], [0, 0]
        assert forgetting(R, order) == backward_transfer(R, order) == forward_transfer(R, [0.1], order) == 0
        assert average_incremental_accuracy(R, order) == pytest.approx(0.7)

    def test_an_order_of_distinct_tasks_changes_nothing(self):
        for metric in (average_accuracy, average_incremental_accuracy, forgetting, backward_transfer):
            assert metric(R, range(4)) == metric(R)
        assert forward_transfer(R, UNTRAINED, range(4)) == forward_transfer(R, UNTRAINED)

    @pytest.mark.parametrize("order", [(0, 1, 0), (1, 0, 1, 0), (0, 2, 0, 2), (0, 0, 0, 0)])
    def test_refuses_an_order_that_does_not_fit(self, order):
        with pytest.raises(ValueError, match="4 phases and 2 tasks, which the order"):
            average_accuracy(self.R, order)


class TestTransferToLast:
    def test_by_hand(self):
        assert transfer_to_last(R, INDEPENDENT) == pytest.approx(1.0 - 0.75)
        assert transfer_to_last(INDEPENDENT, R) == pytest.approx(0.75 - 1.0)

    def test_the_last_task_is_the_one_trained_last(self):
        revisited = [[0.9, 0.1], [0.5, 0.8], [0.7, 0.6]]
        independent = [[0.6, 0.1], [0.6, 0.4], [0.6, 0.4]]
        assert transfer_to_last(revisited, independent, [0, 1, 0]) == pytest.approx(0.7 - 0.6)

    def test_a_single_phase_has_no_last_task(self):
        assert transfer_to_last(SINGLE_PHASE, SINGLE_PHASE) is None
        assert transfer_to_last(SINGLE_TASK, [[0.5]]) == pytest.approx(0.3)

    def test_other_streams_are_refused(self):
        with pytest.raises(ValueError, match="shapes"):
            transfer_to_last(R, SINGLE_TASK)
