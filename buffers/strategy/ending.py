"""The end of a run by SIGTERM, after the same step on all workers."""

from collections.abc import Callable
from types import FrameType

from pytorch_lightning import Trainer
from pytorch_lightning.utilities.exceptions import SIGTERMException

from redwood.buffers.distributed.async_buffer import AsyncRehearsalBuffer


class CommonEnd:
    """Takes the place of Lightning's broadcasts of SIGTERM.

    Lightning broadcasts before every batch whether the first worker got the signal, which takes a collective and an
    `item`, and swallows the error if a worker is lost. It also broadcasts from within the handler, where no other
    worker takes part. Here the exchange of counts tells of the signal, whichever worker got it.

    Attributes:
        has_come: Whether all workers have ended in this way.
    """

    def __init__(self, trainer: Trainer, memory: AsyncRehearsalBuffer, ends: Callable[[], bool]) -> None:
        """Serve a trainer, before it registers its handlers of signals.

        Args:
            trainer: The trainer.
            memory: Is told of the signal.
            ends: Whether a worker got it, equal on all workers that have begun equally many steps.
        """
        self._trainer, self._memory, self._ends = trainer, memory, ends
        memory.asks_for_end = self.has_come = False
        self._signals = trainer._signal_connector
        self._signals._sigterm_notifier_fn = self._on_signal  # type: ignore[method-assign, assignment]
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = self.between_steps  # type: ignore[method-assign]

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        launcher = self._trainer.strategy.launcher
        if not self._memory.asks_for_end and launcher is not None:
            launcher.kill(number)
        self._memory.asks_for_end = True
        if not self._trainer.training:  # no step would tell the others: this worker ends by itself
            self._signals.received_sigterm = True

    def between_steps(self) -> None:
        """End if a worker got the signal by the latest step; all workers have to call this, between the same steps.

        Raises:
            SIGTERMException: On all workers, or on none.
        """
        if self._ends():
            self._signals.received_sigterm = self.has_come = True
            raise SIGTERMException

    def no_more_steps(self) -> None:
        """Let a signal of this worker count that no step has told of, as others may not know of it for long."""
        self.between_steps()
        self._signals.received_sigterm = self._memory.asks_for_end
