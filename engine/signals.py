"""Signals that ask a run to end: at once, or after the current step where training can save itself first.

Schedulers send SIGTERM, and often SIGUSR1 before the time limit (`#SBATCH --signal=USR1@90`). A closed terminal sends
SIGHUP. Each of them raises `Stopped`, an exit with status 143. Ctrl-C raises `KeyboardInterrupt`.

This module imports nothing heavy: the command line and new processes listen to signals before they import the rest.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED, TERMINATED = 130, 143  # exit codes

# The terminating signals that this system has.
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
    """State of this process: the first signal received, and how to react to one."""

    number: int | None = None
    listening = False
    postponed = False


@contextmanager
def stop_signals(interrupts: bool = False) -> Iterator[None]:
    """Turn signals into exceptions inside the block, unless an outer block does so already.

    A handler that the user has set stays. An ignored signal, as under `nohup`, stays ignored.

    Args:
        interrupts: Whether Ctrl-C may wait for the current step, too. A second Ctrl-C does not wait.
    """
    if _Request.listening or threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [number for number in _TERMINATING if signal.getsignal(number) is signal.SIG_DFL]
    if interrupts and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        numbers.append(signal.SIGINT)
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        _Request.listening = True
        for number in numbers:
            signal.signal(number, _on_signal)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _Request.listening, _Request.number = False, None


def _on_signal(number: int, frame: FrameType | None) -> None:
    first, _Request.number = _Request.number, _Request.number or number
    if number == signal.SIGINT and (first == number or not _Request.postponed):
        raise KeyboardInterrupt
    # Schedulers may send several signals, and each process of a group gets them. Only the first one counts.
    if first is None and not _Request.postponed:
        raise Stopped(number)


@contextmanager
def postpone_signals(when: bool = True) -> Iterator[None]:
    """Inside the block, if `when` is true, signals are only recorded; the block asks `StopVote` between steps."""
    before = _Request.postponed
    _Request.postponed = before or when
    try:
        yield
    finally:
        _Request.postponed = before


def stop_requested() -> bool:
    """True if this process has received a signal."""
    return _Request.number is not None


def stop() -> None:
    """Raise `Stopped`; without a signal of its own, this worker ends because of another worker's signal."""
    raise Stopped(_Request.number or signal.SIGTERM)
