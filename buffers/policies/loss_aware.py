"""Loss-aware reservoir sampling."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from redwood.buffers.policies.base import Offer, Placement, Policy
from redwood.buffers.randomness import CounterRandom


class LossAwareReservoir(Policy):
    """A reservoir that gives up what is learned already (LARS: Buzzega et al., 2020, "A Bag of Tricks").

    A sample enters as in a reservoir, with probability capacity / n. It takes the slot of a sample that is drawn with
    probability proportional to max(l) - l, the loss l being the one when the sample was seen last: the paper's score
    -l, shifted so that it is a weight.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"losses"})

    def bind(self, capacity: int, seed: int) -> None:
        """Start with no sample."""
        super().bind(capacity, seed)
        self._lots = CounterRandom(seed, "whether a sample enters")
        self._choices = CounterRandom(seed, "which sample gives way")
        self._losses = torch.zeros(capacity, dtype=torch.float64)

    def grow(self, capacity: int) -> None:
        """Decide from now on for more slots."""
        self._losses = torch.cat([self._losses, torch.zeros(capacity - self.capacity, dtype=torch.float64)])
        super().grow(capacity)

    def place(self, offer: Offer) -> Placement:
        """Fill the free slots, then replace."""
        assert offer.losses is not None
        n_fill = min(self.capacity - self.size, offer.n)
        taken = {self.size + i: i for i in range(n_fill)}
        self._losses[self.size : self.size + n_fill] = offer.losses[:n_fill]
        self.size += n_fill
        arrivals = torch.arange(self.n_seen, self.n_seen + offer.n)
        enters = (self._lots.run(self.n_seen, offer.n) * (arrivals + 1)).long() < self.capacity
        draws = self._choices.run(self.n_seen, offer.n)
        for position in (enters[n_fill:].nonzero().view(-1) + n_fill).tolist():
            slot = self._gives_way(float(draws[position]))
            self._losses[slot] = offer.losses[position]
            taken[slot] = position
        self.n_seen += offer.n
        return Placement.of(taken)

    def _gives_way(self, draw: float) -> int:
        weights = self._losses.max() - self._losses
        sums = weights.cumsum(0)
        total = float(sums[-1])
        if total == 0:  # all losses are equal
            return int(draw * self.capacity)
        return min(int(torch.searchsorted(sums, draw * total, right=True)), self.capacity - 1)

    def rated(self, slots: Tensor, losses: Tensor) -> None:
        """Take note of the losses of replayed rows."""
        self._losses[slots] = losses.double()

    def recall(self) -> dict[str, Tensor]:
        """The losses."""
        return {"losses": self._losses[: self.size].clone()}

    def state_dict(self) -> dict[str, Any]:
        """The losses, too."""
        return super().state_dict() | {"losses": self._losses[: self.size].clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        super().load_state_dict(state)
        self._losses = torch.zeros(self.capacity, dtype=torch.float64)
        self._losses[: self.size] = state["losses"]
