"""Count the floating-point operations of an algorithm's updates without slowing it down."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.utils.flop_counter import FlopCounterMode


class UpdateFlops:
    """FLOPs of all updates, from one counted step of each optimizer.

    `torch.utils.flop_counter` makes an update many times slower, and an update of one kind always costs the same: what
    is computed before the first step of an optimizer is counted, and multiplied by the number of its steps.
    """

    def __init__(self, n_optimizers: int) -> None:
        """Expect steps of so many optimizers."""
        self._n = n_optimizers
        self._steps = [0] * n_optimizers
        self._counted: dict[int, float] = {}
        self._apart = 0.0
        self._counter: FlopCounterMode | None = None
        self._before = 0.0

    def start(self) -> None:
        """An update begins."""
        if len(self._counted) < self._n:
            self._before = 0.0
            self._counter = FlopCounterMode(display=False)
            self._counter.__enter__()

    def note_step(self, index: int) -> None:
        """Optimizer `index` is about to make a step."""
        self._steps[index] += 1
        if self._counter is None:
            return
        flops = float(self._counter.get_total_flops())
        self._counted.setdefault(index, flops - self._before)
        self._before = flops
        if len(self._counted) == self._n:
            self.stop()

    def stop(self) -> None:
        """An update is over, or the part of it that is counted."""
        if self._counter is not None:
            self._counter.__exit__(None, None, None)
            self._counter = None

    @contextmanager
    def count(self) -> Iterator[None]:
        """Count all that the body computes, outside updates."""
        with FlopCounterMode(display=False) as counter:
            yield
        self._apart += float(counter.get_total_flops())

    def total(self) -> float:
        """FLOPs so far."""
        return self._apart + sum(self._counted.get(i, 0.0) * steps for i, steps in enumerate(self._steps))

    def counts(self) -> dict[str, Any]:
        """The counts, as plain values."""
        return {"steps": list(self._steps), "counted": dict(self._counted), "apart": self._apart}

    def load_counts(self, state: dict[str, Any]) -> None:
        """Go on from earlier counts."""
        if len(state["steps"]) != self._n:
            raise ValueError(f"it counts steps of {len(state['steps'])} optimizers")
        self._steps = [int(steps) for steps in state["steps"]]
        self._counted = {int(index): float(flops) for index, flops in state["counted"].items()}
        self._apart = float(state["apart"])
