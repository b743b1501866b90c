"""The asynchronous rehearsal strategy for methods of redwood: it hands the drawn samples on in the `Step`."""

from typing_extensions import override

from redwood.buffers import AsyncRehearsalBuffer, AsyncRehearsalStrategy
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.methods.replay.replay import checked_further
from redwood.methods.training.callbacks import LOG_EVERY, log_interval
from redwood.methods.training.step import Rows, Step
from redwood.settings.batch import Batch


class MethodStrategy(AsyncRehearsalStrategy):
    """Rehearsal for a method that itself joins replayed samples to the incoming ones, and chooses stored samples."""

    def __init__(self, method: Rehearsal, memory: AsyncRehearsalBuffer) -> None:
        """Serve a method in one phase; `memory` continues from the phase before."""
        super().__init__(buffer=memory)
        self._method = method

    @override
    def samples_of(self, batch: Batch | Step) -> Rows:
        # Lightning shows the batch of the loader first, and after its transfer the step that it became.
        return (batch.incoming if isinstance(batch, Step) else batch).leaves()

    @override
    def merge(self, batch: Step, replayed: Rows) -> Step:
        batch.drawn_ahead = replayed
        return batch

    @override
    def is_offered(self, batch: Step) -> bool:
        return self._method.should_add(batch)

    @override
    def more_leaves(self, batch: Step) -> Rows:
        return checked_further(self._method.further_leaves(batch))

    @override
    def rows_of(self, samples: Rows, more: Rows) -> Rows:
        return samples | more

    @override
    def _is_late(self) -> bool:
        return super()._is_late() or self._method.stores_outputs

    @override
    def check_loaders(self) -> None:
        """The checkpoints of a run hold the places of its workers in the stream by themselves."""

    @override
    def log_costs(self) -> None:
        """Log the costs of rehearsal as often as the loss."""
        step = self._trainer.global_step
        run = self._method.run
        if step and step % log_interval(run.global_step + step, LOG_EVERY) == 0:
            costs = self.memory.profiler.costs()
            run.log({f"rehearsal/{name}": value for name, value in costs.items()}, run.global_step + step)
