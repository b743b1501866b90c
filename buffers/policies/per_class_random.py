"""Random replacement within a class, at a fixed rate."""

from collections.abc import Callable, Sequence
from typing import Any, Self

from redwood.buffers.errors import BufferInputError
from redwood.buffers.policies.base import Offer, Placement
from redwood.buffers.policies.class_quota import ClassQuota
from redwood.buffers.randomness import CounterRandom


class PerClassRandom(ClassQuota):
    """Of each batch about c candidates replace random samples of their classes (Bouvier et al., 2024, algorithm 1).

    Everything is kept while a class has room. After that a sample enters with probability c / b, b being the size of
    the batch, in place of a random one of its class. That is no reservoir: a stored sample survives m further samples
    of its class with probability (1 - c / (b S))^m, S being the size of the class, so recent samples prevail.
    """

    def __init__(self, candidates: int = 14, quota: int | None = None) -> None:
        """Choose c, and S.

        Args:
            candidates: Samples c of each batch that may replace others.
            quota: Samples S of each class; None: the capacity is shared by the classes seen so far.

        Raises:
            ValueError: If either is less than 1.
        """
        for name, value in (("candidates", candidates), ("quota", 1 if quota is None else quota)):
            if value < 1:
                raise BufferInputError(f"{name} has to be at least 1, got {value}.")
        self.candidates, self.quota = candidates, quota

    def bind(self, capacity: int, seed: int) -> None:
        """Start with no sample."""
        super().bind(capacity, seed)
        self._orders = CounterRandom(seed, "order of those who resume")

    def resume(self, offer: Offer, others: Sequence[Self], share: Callable[[int], int]) -> Placement:
        """Start with samples of other workers, in random order: those that come first are the likelier to stay."""
        assert offer.labels is not None
        order = self._orders.run(0, offer.n).argsort()
        positions, slots = super().resume(offer._replace(labels=offer.labels[order]), others, share)
        return Placement(order[positions], slots)

    def chance(self, arrival: Any, kept: Any, n: int) -> Any:
        """The rate c / b."""
        return self.candidates / n
