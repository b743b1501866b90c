import numpy as np

from redwood.runs.figures.trade_off import front


def test_by_hand():
    points = [(1, 9), (2, 5), (3, 7), (4, 5), (5, 1), (6, 1), (0, 10)]
    assert front(points) == [6, 0, 1, 4], "(3, 7) and (4, 5) lose to (2, 5), (6, 1) to (5, 1)"


def test_one_is_best_in_both():
    assert front([(2, 2), (1, 1), (1, 3), (3, 1)]) == [1]


def test_equal_points_stay():
    assert front([(1, 2), (2, 1), (1, 2)]) == [0, 2, 1]


def test_of_nothing():
    assert front([]) == []


def test_is_the_definition():
    points = [tuple(point) for point in np.random.default_rng(0).integers(0, 12, (60, 2)).tolist()]

    def dominated(p):
        return any(q[0] <= p[0] and q[1] <= p[1] and q != p for q in points)

    assert set(front(points)) == {i for i, p in enumerate(points) if not dominated(p)}
