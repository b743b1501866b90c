"""Which of several runs are worth their cost: those that no other one beats in both accuracy and cost."""

from collections.abc import Sequence


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the points that are not dominated, where less of both coordinates is better.

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
