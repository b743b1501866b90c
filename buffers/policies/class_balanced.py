"""A uniform random subset of each class."""

from typing import Any

from redwood.buffers.policies.class_quota import ClassQuota


class ClassBalancedReservoir(ClassQuota):
    """A reservoir for each class (CBRS: Chrysakis and Moens, 2020, algorithm 1).

    Of the m samples of a class that are stored after n of it have come, each of the n is one with probability m / n.
    """

    def chance(self, arrival: Any, kept: Any, n: int) -> Any:
        """The share m / n."""
        return kept / arrival
