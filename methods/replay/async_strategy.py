"""The asynchronous rehearsal strategy, for methods of redwood: what is drawn is handed to the method."""

from typing import TYPE_CHECKING, Any

from torch import Tensor

from redwood.buffers import AsyncRehearsalStrategy
from redwood.methods.training.callbacks import LOG_EVERY
from redwood.settings.batch import Batch

if TYPE_CHECKING:
    from redwood.methods.replay.rehearsal import Rehearsal


class MethodStrategy(AsyncRehearsalStrategy):
    """Rehearsal of a method that mixes and stores samples in its own way."""

    def __init__(self, method: "Rehearsal") -> None:
        """Serve a method in one phase; its `memory` goes on from the phase before."""
        assert method.memory is not None
        super().__init__(buffer=method.memory)
        self._method = method

    def samples_of(self, batch: Batch) -> dict[str, Tensor]:
        """The leaves of a batch that are there."""
        return batch.leaves()

    def merge(self, batch: Batch, replayed: Any) -> Batch:
        """The batch alone: the method takes what was drawn from `replayed`."""
        return batch

    def is_offered(self, batch: Batch) -> bool:
        """As the method says."""
        return self._method.offers_now()

    def more_leaves(self, batch: Batch) -> dict[str, Tensor]:
        """What the method stores beside a sample."""
        return self._method.more_leaves()

    def rows_of(self, samples: dict[str, Tensor], more: dict[str, Tensor]) -> dict[str, Tensor]:
        """All leaves side by side."""
        return samples | more

    def _is_late(self) -> bool:
        return super()._is_late() or self._method.stores_outputs

    def log_costs(self) -> None:
        """Log what rehearsal costs, as often as the loss."""
        step = self._trainer.global_step
        if step and step % LOG_EVERY == 0:
            run, costs = self._method.run, self.memory.profiler.costs()
            run.log({f"rehearsal/{name}": value for name, value in costs.items()}, run.global_step + step)
