"""Error against compute: the Pareto front of several methods, and the hypervolume that it dominates.

Everywhere less of both coordinates is better.
"""

import math
from collections.abc import Sequence
from typing import TypeAlias

from redwood.settings.scores.measure import RMSE, Measure

Point: TypeAlias = tuple[float, float]


def front(points: Sequence[Point]) -> list[int]:
    """Return the points that are not dominated.

    A point is dominated if another one is no worse in both coordinates and better in one (Pareto, "Manuale di economia
    politica", 1906; Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", 2002, section III).
    Equal points do not dominate each other.

    Args:
        points: Pairs such as (cost, error).

    Returns:
        Indices into `points`, by ascending first coordinate.
    """
    found: list[int] = []
    for index in sorted(range(len(points)), key=lambda i: points[i]):
        # Sorted so, only the last point found can dominate: its second coordinate is the least so far.
        if not found or points[index][1] < points[found[-1]][1] or points[index] == points[found[-1]]:
            found.append(index)
    return found


def dominated_by(points: Sequence[Point]) -> list[list[int]]:
    """Return the indices of the points that dominate each point; none of those on the `front`."""
    return [
        [i for i, other in enumerate(points) if other[0] <= x and other[1] <= y and other != (x, y)] for x, y in points
    ]


def hypervolume(points: Sequence[Point], reference: Point) -> float:
    """Return the area that points dominate within a reference: the union of the rectangles between it and each point.

    From Zitzler & Thiele, "Multiobjective evolutionary algorithms: a comparative case study and the strength Pareto
    approach" (IEEE Transactions on Evolutionary Computation 3(4), 1999). The area is exact.

    Args:
        points: Pairs such as (cost, error). A point that is not below the reference in both coordinates counts nothing.
        reference: The worst value of each coordinate.

    Returns:
        The area, at least 0, in the product of the units of both coordinates.
    """
    inside = [point for point in points if point[0] < reference[0] and point[1] < reference[1]]
    area, height = 0.0, reference[1]
    for x, y in (inside[i] for i in front(inside)):
        area += (reference[0] - x) * (height - y)
        height = y
    return area


def loss_of(objective: float, measure: Measure) -> float:
    """Return the loss that a front minimises: the error 1 - accuracy (or mAP), the RMSE, or the negated return."""
    if measure is RMSE:
        return objective
    return 1.0 - objective if measure.is_share else -objective


def hypervolume_of_methods(costs: Sequence[float], losses: Sequence[float], measure: Measure) -> float | None:
    """Return the hypervolume of methods by this project's convention: loss against log10 of the FLOPs for all uses.

    The reference is the largest of the costs, and the error 1; of RMSEs and returns, the largest of the losses. So the
    most expensive method adds nothing. The hypervolume is the saving of the others, in decades of compute, times their
    distance below the reference. Hypervolumes compare sets of methods only where their references are the same.

    Args:
        costs: FLOPs of each method, those of choosing its options included. One without FLOPs, such as guessing, has no
            logarithm, and is left out.
        losses: The `loss_of` each method.
        measure: The measure of the losses.

    Returns:
        The area in decades times the unit of the loss; None if no method has computed anything.
    """
    points = [(math.log10(cost), loss) for cost, loss in zip(costs, losses, strict=True) if cost > 0]
    if not points:
        return None
    worst = 1.0 if measure.is_share else max(loss for _, loss in points)
    return hypervolume(points, (max(x for x, _ in points), worst))
