"""What the threads of another process are doing, for tests of processes that hang."""

import faulthandler
import os
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

WRITING_S = 2.0


def write_when_asked(path: Path) -> None:
    """Make this process answer `stacks_of`, whatever it is busy with.

    To be called anew after a `Trainer` has run: it puts back the handlers that Python knows of, and this is not one.
    """
    faulthandler.unregister(signal.SIGUSR1)
    faulthandler.register(signal.SIGUSR1, file=path.open("a"), all_threads=True)


def stacks_of(process: BaseProcess, path: Path) -> str:
    """The stacks of a process that has called `write_when_asked(path)`; none of one that is starting or stopped."""
    if not path.exists() or not process.is_alive():
        return ""
    assert process.pid
    os.kill(process.pid, signal.SIGUSR1)
    time.sleep(WRITING_S)
    return path.read_text()
