"""Start child processes that end with their parent and leave Ctrl-C to it.

This module imports nothing heavy: a new process watches its parent before it imports its own code.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from types import ModuleType

from redwood.core.errors import InvalidOptionError

# The most processes that one machine starts: the larger of a number per core and a fixed number.
_PER_CORE, _ON_ANY_MACHINE = 4, 32
_PR_SET_PDEATHSIG = 1


def end_with_parent(group: bool = False) -> None:
    """End this process at once when its parent ends, whatever ends the parent.

    Args:
        group: Whether the group that this process leads ends, too.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    sentinel = parent.sentinel

    def watch() -> None:
        wait([sentinel])
        if group:
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    if not group:
        killed_with_parent()  # needs no thread, which may have to wait for its turn
    threading.Thread(target=watch, daemon=True).start()


def killed_with_parent(by: int = signal.SIGKILL) -> None:
    """Have the system send this process a signal when the thread that started it ends; only Linux can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, by)


@contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Processes started inside the block are not reached by Ctrl-C until they unblock SIGINT."""
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        yield
        return
    resource_tracker.ensure_running()  # its start would lift the mask below
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextmanager
def main_module_hidden() -> Iterator[None]:
    """Processes started inside the block do not run the user's script again: they need nothing of it."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def usable_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_processes(option: str, count: int) -> None:
    """Raise `InvalidOptionError` if an option asks for more processes than this machine can be expected to start."""
    cores = usable_cores()
    most = max(_PER_CORE * cores, _ON_ANY_MACHINE)
    if count > most:
        raise InvalidOptionError(
            f"--{option} {count} asks for {count} processes on this machine, which has {cores} cores; use at most "
            f"{most}."
        )
