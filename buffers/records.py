"""When each row came, and how often it was drawn."""

from typing import Any

import torch
from torch import Tensor


class Records:
    """Two numbers for each slot, on the host."""

    def __init__(self, capacity: int) -> None:
        """Start with empty slots."""
        self.arrivals: Tensor = torch.zeros(capacity, dtype=torch.int64)
        self.draws: Tensor = torch.zeros(capacity, dtype=torch.int64)

    def written(self, slots: Tensor, arrivals: Tensor) -> None:
        """Samples that came as number `arrivals` (r,) of the stream got these slots (r,)."""
        self.arrivals.index_copy_(0, slots, arrivals)
        self.draws.index_fill_(0, slots, 0)

    def drawn(self, slots: Tensor) -> None:
        """These rows (n,) were drawn."""
        self.draws.index_add_(0, slots, torch.ones_like(slots))

    def grow(self, capacity: int) -> None:
        """Add empty slots."""
        more = torch.zeros(capacity - len(self.arrivals), dtype=torch.int64)
        self.arrivals, self.draws = torch.cat([self.arrivals, more]), torch.cat([self.draws, more])

    def state_dict(self, n: int) -> dict[str, Any]:
        """Those of the first `n` slots."""
        return {"arrivals": self.arrivals[:n].clone(), "draws": self.draws[:n].clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over those of the first slots."""
        for own, saved in ((self.arrivals, state["arrivals"]), (self.draws, state["draws"])):
            own[: len(saved)] = saved
