"""Statistics of slots: numbers of arrivals and of draws, 8 bytes a slot."""

import torch
from torch import Tensor

from redwood.core.state import State

# Arrivals from here on do not fit into 32 bits.
WIDE = 1 << 31


def narrowed(arrivals: Tensor, n_seen: int) -> Tensor:
    """Arrivals (n,), all below `n_seen`, in as few bits as `SlotStatistics` keeps them."""
    return arrivals.long() if n_seen > WIDE else arrivals.int()


class SlotStatistics:
    """Two numbers for each slot, on the host.

    Attributes:
        arrivals: Number of the sample in the stream (capacity,): int32, and int64 once a stream has had 2^31 samples.
        draws: Number of draws since the sample came (capacity,), int32.
    """

    def __init__(self, capacity: int) -> None:
        """Start with empty slots."""
        self.arrivals: Tensor = torch.zeros(capacity, dtype=torch.int32)
        self.draws: Tensor = torch.zeros(capacity, dtype=torch.int32)

    def on_stored(self, slots: Tensor, arrivals: Tensor, n_seen: int) -> None:
        """Samples with the numbers `arrivals` (r,) of the stream, all below `n_seen`, were written to slots (r,)."""
        if n_seen > WIDE:
            self.arrivals = self.arrivals.long()
        # By NumPy: for a few slots its calls cost a fraction of torch's.
        rows = slots.numpy()
        self.arrivals.numpy()[rows] = arrivals.numpy()
        self.draws.numpy()[rows] = 0

    def on_drawn(self, slots: Tensor) -> None:
        """The rows in slots (n,) were drawn."""
        self.draws.index_add_(0, slots, torch.ones_like(slots, dtype=torch.int32))

    def state_dict(self, n: int) -> State:
        """The statistics of the first `n` slots."""
        return {"arrivals": self.arrivals[:n].clone(), "draws": self.draws[:n].clone()}

    def load_state_dict(self, state: State) -> None:
        """Restore the statistics of the first slots."""
        self.arrivals = self.arrivals.to(state["arrivals"].dtype)
        for own, saved in ((self.arrivals, state["arrivals"]), (self.draws, state["draws"])):
            own[: len(saved)] = saved
