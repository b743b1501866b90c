"""Reservoir sampling (Vitter, 1985, algorithm R)."""

from bisect import bisect_left

import torch
from torch import Tensor

from redwood.buffers.policies.base import Offer, Placement, Policy
from redwood.buffers.randomness import CounterRandom

BLOCK = 4096


class Reservoir(Policy):
    """Keep a uniform random subset of the stream.

    After n samples each of them is stored with probability min(1, capacity / n), whatever the batch sizes were: the
    sample that arrives as number i (from 0) takes slot floor(u_i * (i + 1)), if there is such a slot.

    A buffer that grows fills its new slots with the next samples, which are then over-represented.
    """

    def bind(self, capacity: int, seed: int) -> None:
        """Start with no sample."""
        super().bind(capacity, seed)
        self._random = CounterRandom(seed, "reservoir")
        self._decide_block(0)

    def grow(self, capacity: int) -> None:
        """Decide from now on for more slots."""
        super().grow(capacity)
        self._decide_block(self._block_start)

    def place(self, offer: Offer) -> Placement:
        """Fill the free slots, then replace at random."""
        start, n_fill = self.n_seen, min(self.capacity - self.size, offer.n)
        self.n_seen += offer.n
        if n_fill == offer.n:
            slots = torch.arange(self.size, self.size + n_fill)
            self.size += n_fill
            return Placement(torch.arange(n_fill), slots)
        # Where several samples of the batch fall on one slot, the last of them gets it.
        taken = {self.size + i: i for i in range(n_fill)}
        self.size += n_fill
        for arrival, slot in self._accepted(start + n_fill, start + offer.n):
            taken[slot] = arrival - start
        return Placement.of(taken)

    def recall(self) -> dict[str, Tensor]:
        """Nothing."""
        return {}

    def _accepted(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Arrival numbers in start..stop that are accepted, with their slots; of 4,096 arrivals at once."""
        found: list[tuple[int, int]] = []
        while start < stop:
            if not self._block_start <= start < self._block_start + BLOCK:
                self._decide_block(start - start % BLOCK)
            end = min(stop, self._block_start + BLOCK)
            low, high = bisect_left(self._arrivals, start), bisect_left(self._arrivals, end)
            found += zip(self._arrivals[low:high], self._slots[low:high], strict=True)
            start = end
        return found

    def _decide_block(self, start: int) -> None:
        arrivals = torch.arange(start, start + BLOCK)
        slots = (self._random.uniforms(arrivals) * (arrivals + 1)).long()
        accepted = slots < self.capacity
        self._block_start = start
        self._arrivals, self._slots = arrivals[accepted].tolist(), slots[accepted].tolist()
