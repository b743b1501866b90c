"""The first samples of each class."""

from typing import Any

from redwood.buffers.policies.class_quota import ClassQuota


class GreedyBalanced(ClassQuota):
    """Keep what comes first, class by class (the greedy sampler of GDumb: Prabhu et al., 2020, algorithm 1)."""

    def chance(self, arrival: Any, kept: Any, n: int) -> Any:
        """Never."""
        return 0.0
