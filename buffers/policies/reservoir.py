"""Reservoir sampling (Vitter, 1985, algorithm R)."""

from bisect import bisect_left
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from redwood.buffers.policies.base import CandidateInfo, Placement, Policy
from redwood.buffers.randomness import CounterRandom
from redwood.core.state import State

BLOCK = 4096


class Reservoir(Policy):
    """Keep a uniform random subset of the stream.

    After n samples each of them is stored with probability min(1, capacity / n), for any batch sizes. Sample number i
    (from 0) takes slot floor(u_i * (i + 1)), if there is such a slot; u_i is uniform in [0, 1).
    """

    @override
    def bind(self, capacity: int, seed: int) -> None:
        super().bind(capacity, seed)
        self._random = CounterRandom(seed, "reservoir")
        self._decide_block(0)

    @override
    def propose(self, info: CandidateInfo) -> Placement:
        """Fill the free slots, then replace at random."""
        start, n_fill = self.n_seen, min(self.capacity - self.size, info.n)
        self.n_seen += info.n
        if n_fill == info.n:
            slots = torch.arange(self.size, self.size + n_fill)
            self.size += n_fill
            return Placement(torch.arange(n_fill), slots)
        # If several samples of the batch take one slot, the last of them gets it.
        taken = {self.size + i: i for i in range(n_fill)}
        self.size += n_fill
        for arrival, slot in self._accepted(start + n_fill, start + info.n):
            taken[slot] = arrival - start
        return Placement.of(taken)

    @override
    def slot_metadata(self) -> dict[str, Tensor]:
        return {}

    def _accepted(self, start: int, stop: int) -> list[tuple[int, int]]:
        """The accepted arrivals in start..stop with their slots; 4,096 arrivals are decided at once."""
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


class LossAwareReservoir(Policy):
    """A reservoir that gives up samples that are learned already (LARS: Buzzega et al., 2020, "A Bag of Tricks").

    A sample enters as in a reservoir, with probability capacity / n. It takes the slot of a stored sample, drawn with
    probability proportional to max(l) - l. The loss l is the one of the latest time that the sample was trained on.
    This is the paper's score -l, shifted so that it is a weight.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"losses"})

    @override
    def bind(self, capacity: int, seed: int) -> None:
        super().bind(capacity, seed)
        self._lots = CounterRandom(seed, "whether a sample enters")
        self._choices = CounterRandom(seed, "which sample gives way")
        self._losses = torch.zeros(capacity, dtype=torch.float64)

    @override
    def propose(self, info: CandidateInfo) -> Placement:
        """Fill the free slots, then replace."""
        assert info.losses is not None
        n_fill = min(self.capacity - self.size, info.n)
        taken = {self.size + i: i for i in range(n_fill)}
        self._losses[self.size : self.size + n_fill] = info.losses[:n_fill]
        self.size += n_fill
        arrivals = torch.arange(self.n_seen, self.n_seen + info.n)
        enters = (self._lots.run(self.n_seen, info.n) * (arrivals + 1)).long() < self.capacity
        draws = self._choices.run(self.n_seen, info.n)
        for position in (enters[n_fill:].nonzero().view(-1) + n_fill).tolist():
            slot = self._gives_way(float(draws[position]))
            self._losses[slot] = info.losses[position]
            taken[slot] = position
        self.n_seen += info.n
        return Placement.of(taken)

    def _gives_way(self, draw: float) -> int:
        weights = self._losses.max() - self._losses
        sums = weights.cumsum(0)
        total = float(sums[-1])
        if total == 0:  # all losses are equal
            return int(draw * self.capacity)
        return min(int(torch.searchsorted(sums, draw * total, right=True)), self.capacity - 1)

    @override
    def on_replayed(self, slots: Tensor, losses: Tensor) -> None:
        self._losses[slots] = losses.double()

    @override
    def slot_metadata(self) -> dict[str, Tensor]:
        return {"losses": self._losses[: self.size].clone()}

    @override
    def state_dict(self) -> State:
        return super().state_dict() | {"losses": self._losses[: self.size].clone()}

    @override
    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        self._losses = torch.zeros(self.capacity, dtype=torch.float64)
        self._losses[: self.size] = state["losses"]
