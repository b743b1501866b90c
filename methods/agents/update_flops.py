"""Count the floating-point operations of an algorithm's updates without slowing them down."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch.utils.flop_counter import FlopCounterMode
from typing_extensions import override

from redwood.core.state import State, Stateful


class UpdateFlops(Stateful):
    """FLOPs of all updates, from one counted step of each optimizer.

    Counting with `torch.utils.flop_counter` makes an update many times slower, and updates of one kind cost the same.
    So the operations before the first step of each optimizer are counted, and multiplied by the number of its steps.
    """

    def __init__(self, n_optimizers: int) -> None:
        self._n = n_optimizers
        self.steps = self.add_state("steps", [0] * n_optimizers)
        self.counted: dict[int, float] = self.add_state(
            "counted", {}
        )  # FLOPs before a step, by the index of the optimizer
        self.others = self.add_state("others", 0.0)
        self._counter: FlopCounterMode | None = None
        self._before = 0.0  # FLOPs of the present update up to the last step

    def start(self) -> None:
        """Begin an update."""
        if len(self.counted) < self._n:
            self._before = 0.0
            self._counter = FlopCounterMode(display=False)
            self._counter.__enter__()

    def note_step(self, index: int) -> None:
        """Note that optimizer `index` is about to make a step."""
        self.steps[index] += 1
        if self._counter is None:
            return
        flops = float(self._counter.get_total_flops())
        self.counted.setdefault(index, flops - self._before)
        self._before = flops
        if len(self.counted) == self._n:
            self.stop()

    def stop(self) -> None:
        """End an update, or the part of it that is counted."""
        if self._counter is not None:
            self._counter.__exit__(None, None, None)
            self._counter = None

    @contextmanager
    def count(self) -> Iterator[None]:
        """Count everything that the body computes, outside updates."""
        with FlopCounterMode(display=False) as counter:
            yield
        self.others += float(counter.get_total_flops())

    def total(self) -> float:
        """Return the FLOPs so far."""
        return self.others + sum(self.counted.get(i, 0.0) * steps for i, steps in enumerate(self.steps))

    @override
    def load_state_dict(self, state: State) -> None:
        """Continue from earlier counts.

        Raises:
            ValueError: If they count the steps of another number of optimizers.
        """
        if len(state["steps"]) != self._n:
            raise ValueError(f"it counts steps of {len(state['steps'])} optimizers")
        super().load_state_dict(state)
