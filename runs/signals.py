"""Signals that ask a run to end: at once, or after the step in hand where training can save itself first.

Schedulers send SIGTERM, and before the time limit often SIGUSR1 (`#SBATCH --signal=USR1@90`); a closed terminal sends
SIGHUP. Each raises `Stopped`, an exit with status 143, wherever the program is. Ctrl-C raises `KeyboardInterrupt`.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED, TERMINATED = 130, 143
# Of several workers, every how many steps they agree on whether to stop: asking costs a message.
STEPS_BETWEEN_VOTES = 10

# Those of them that the system has.
_TERMINATING = [getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGHUP") if hasattr(signal, name)]


class Stopped(SystemExit):
    """A signal asked the process to end.

    Attributes:
        number: The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(INTERRUPTED if number == signal.SIGINT else TERMINATED)
        self.number = number


class _Request:
    """What has been asked for; there is one of each process, as signals reach processes."""

    number: int | None = None
    listening = False
    postponed = False


@contextmanager
def stop_signals(interrupts: bool = False) -> Iterator[None]:
    """Have signals end what runs inside, unless something outside does so already.

    A handler that the user has set, or a signal that is ignored, as under `nohup`, is left alone.

    Args:
        interrupts: Whether Ctrl-C, too, may wait for the step in hand; a second one does not wait.
    """
    if _Request.listening or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _TERMINATING}
    changed = {number: handler for number, handler in before.items() if handler is signal.SIG_DFL}
    if interrupts and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        changed[signal.SIGINT] = signal.default_int_handler  # type: ignore[assignment]
    try:
        _Request.listening = True
        for number in changed:
            signal.signal(number, _asked)
        yield
    finally:
        for number, handler in changed.items():
            signal.signal(number, handler)
        _Request.listening, _Request.number = False, None


def _asked(number: int, frame: FrameType | None) -> None:
    first, _Request.number = _Request.number, _Request.number or number
    if number == signal.SIGINT and (first == number or not _Request.postponed):
        raise KeyboardInterrupt
    # Schedulers may send several, and each process of a group gets them: what the first has begun is not disturbed.
    if first is None and not _Request.postponed:
        raise Stopped(number)


@contextmanager
def postponed(ready: bool) -> Iterator[None]:
    """Inside, if `ready`, signals are only noted: who runs there asks between steps whether to stop."""
    before = _Request.postponed
    _Request.postponed = before or ready
    try:
        yield
    finally:
        _Request.postponed = before


def stop_if_asked() -> None:
    """Raise `Stopped` if any worker has had a signal that was postponed, or whose exception was lost on the way.

    Every worker has to call this at the same point.
    """
    if _anyone_asked():
        stop()


def stop() -> None:
    """Raise `Stopped`, after a vote that may have passed because of another worker's signal."""
    raise Stopped(_Request.number or signal.SIGTERM)


class StopVote:
    """Whether all workers are to stop between two steps, since one of them has had a signal."""

    def __init__(self, every: int = STEPS_BETWEEN_VOTES) -> None:
        """Vote at each `every`-th call; a call that stands for many steps may vote each time."""
        self._asked, self._every = 0, every

    def passed(self) -> bool:
        """Ask; every worker has to do so after the same steps."""
        from redwood.core.workers import world_size

        self._asked += 1
        return (world_size() == 1 or self._asked % self._every == 0) and _anyone_asked()


def _anyone_asked() -> bool:
    import torch

    from redwood.core.workers import sum_over_workers

    return bool(sum_over_workers(torch.tensor(float(_Request.number is not None))))
