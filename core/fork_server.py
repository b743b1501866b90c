"""Start processes as copies of a server process that has imported the libraries: within a tenth of a second.

The server computes nothing, opens no device and has no threads of its own. It ends with the process that started it.
This module imports nothing heavy.
"""

import multiprocessing
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess

from redwood.core.child_processes import interrupts_blocked

# What may reach all processes of a terminal or of a scheduler's job. The server would be lost, and with it the exit
# statuses of its copies.
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)]


def start_server(preload: Sequence[str], environment: Mapping[str, str]) -> ForkServerContext | SpawnContext:
    """Start the server of this process, if it has none, and return at once, while the server imports.

    The first call decides about the server, as multiprocessing has one server per process.

    Args:
        preload: Modules that the server imports. None of them may use a device, such as CUDA, or start a thread.
        environment: Variables that the server has beside those of this process; libraries read some when imported.

    Returns:
        Where processes and pipes come from. Where the system cannot copy processes, new ones import the libraries.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    with _signals_blocked(), _variables(environment):
        forkserver.ensure_running()
    return context


def start(process: BaseProcess) -> None:
    """Start a process that signals to this one's group do not reach before it calls `accept_signals`."""
    if isinstance(process, multiprocessing.get_context("spawn").Process):
        with interrupts_blocked():
            process.start()
    else:  # it has the signals of the server; this process waits until the server has imported, and listens
        process.start()


def accept_signals() -> None:
    """Let the signals through that a new process has from its server, or from `start`."""
    if hasattr(signal, "pthread_sigmask"):  # not on Windows
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Processes started inside the block do not get these signals, for their whole life unless they unblock them."""
    with interrupts_blocked():  # starts the resource tracker, which must not keep the mask
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextmanager
def _variables(environment: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
