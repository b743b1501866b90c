import numpy as np
import pytest

from redwood.settings.scores.measure import ACCURACY, RETURN, RMSE
from redwood.settings.scores.pareto import dominated_by, front, hypervolume, hypervolume_of_methods, loss_of


def random_points(seed, count, high=12):
    return [tuple(point) for point in np.random.default_rng(seed).integers(0, high, (count, 2)).tolist()]


class TestFront:
    def test_by_hand(self):
        points = [(1, 9), (2, 5), (3, 7), (4, 5), (5, 1), (6, 1), (0, 10)]
        assert front(points) == [6, 0, 1, 4], "(3, 7) and (4, 5) lose to (2, 5), (6, 1) to (5, 1)"

    def test_one_is_best_in_both(self):
        assert front([(2, 2), (1, 1), (1, 3), (3, 1)]) == [1]

    def test_equal_points_stay(self):
        assert front([(1, 2), (2, 1), (1, 2)]) == [0, 2, 1]

    def test_of_nothing(self):
        assert front([]) == []

    def test_is_the_definition(self):
        points = random_points(0, 60)

        def dominated(p):
            return any(q[0] <= p[0] and q[1] <= p[1] and q != p for q in points)

        assert set(front(points)) == {i for i, p in enumerate(points) if not dominated(p)}


class TestDominatedBy:
    def test_by_hand(self):
        points = [(1, 9), (2, 5), (3, 7), (4, 5), (2, 5)]
        assert dominated_by(points) == [[], [], [1, 4], [1, 4], []]

    @pytest.mark.parametrize("seed", range(5))
    def test_none_of_the_front(self, seed):
        points = random_points(seed, 30)
        assert {i for i, others in enumerate(dominated_by(points)) if not others} == set(front(points))


class TestHypervolume:
    def test_by_hand(self):
        assert hypervolume([(1, 1)], (3, 4)) == 6
        # Columns of width 1, 2 and 1, which the points reach down to 3, 2 and 1.
        assert hypervolume([(1, 3), (2, 2), (4, 1)], (5, 4)) == 1 * 1 + 2 * 2 + 1 * 3

    def test_of_nothing(self):
        assert hypervolume([], (1, 1)) == 0

    @pytest.mark.parametrize("outside", [(3, 1), (1, 4), (7, 0), (0, 9), (5, 5)])
    def test_points_outside_count_nothing(self, outside):
        assert hypervolume([outside], (3, 4)) == 0
        assert hypervolume([(1, 1), outside], (3, 4)) == 6

    def test_dominated_and_equal_points_count_nothing(self):
        assert hypervolume([(1, 1), (2, 2), (1, 1), (1, 3)], (3, 4)) == 6

    @pytest.mark.parametrize("seed", range(8))
    def test_is_the_number_of_dominated_cells(self, seed):
        """On integers, the area is the number of unit cells whose lower corner is no better than a point."""
        points, reference = random_points(seed, 5, high=40), (30, 25)
        cells = sum(
            any(x <= column and y <= row for x, y in points)
            for column in range(reference[0])
            for row in range(reference[1])
        )
        assert hypervolume(points, reference) == cells

    def test_is_what_random_samples_estimate(self):
        random = np.random.default_rng(3)
        points, samples = random.uniform(0, 1, (10, 2)), random.uniform(0, 1, (200_000, 2))
        share = (samples[:, None] >= points).all(2).any(1).mean()
        assert hypervolume([tuple(point) for point in points.tolist()], (1, 1)) == pytest.approx(share, abs=0.005)


class TestConvention:
    def test_accuracy(self):
        costs, accuracies = [1e9, 1e10, 1e12], [0.6, 0.5, 0.9]
        losses = [loss_of(accuracy, ACCURACY) for accuracy in accuracies]
        assert losses == pytest.approx([0.4, 0.5, 0.1])
        assert hypervolume_of_methods(costs, losses, ACCURACY) == pytest.approx(3 * 0.6)

    def test_a_method_without_flops_is_left_out(self):
        assert hypervolume_of_methods([0, 1e9, 1e10], [0.1, 0.4, 0.2], ACCURACY) == pytest.approx(0.6)
        assert hypervolume_of_methods([0.0], [0.1], ACCURACY) is None

    def test_rmse_and_return_are_measured_from_the_worst(self):
        assert hypervolume_of_methods([1e9, 1e10], [loss_of(3.0, RMSE), loss_of(5.0, RMSE)], RMSE) == pytest.approx(2)
        returns = [loss_of(value, RETURN) for value in (-100.0, -180.0)]
        assert hypervolume_of_methods([1e9, 1e11], returns, RETURN) == pytest.approx(2 * 80)

    def test_one_method_saves_nothing(self):
        assert hypervolume_of_methods([1e9], [0.2], ACCURACY) == 0
