"""The first import of a server: the server then ends with its parent, and imports most of torchmetrics only on use.

The server ends also while it imports the rest. A killed parent leaves the folder with the server's socket, and the
server removes it. On systems other than Linux, a server without a parent ends once it has imported all.
"""

import atexit
import gc
import os
import shutil
import signal
import time

from redwood.core.child_processes import killed_with_parent
from redwood.core.late_torchmetrics import defer_torchmetrics

_SOCKETS = "REDWOOD_SERVER_SOCKETS"  # the variable of `fork_server` that names the folder
_GONE_S = 1.0  # a process that ends closes its pipes first, which the server may notice
_SERVER, _PARENT = os.getpid(), os.getppid()


def _remove_sockets() -> None:
    """Remove the folder of a parent that has ended. Keep it if only a thread ended: it may start another server."""
    deadline = time.monotonic() + _GONE_S
    while os.getppid() == _PARENT and time.monotonic() < deadline:
        time.sleep(0.01)
    if os.getpid() == _SERVER and os.getppid() != _PARENT and _SOCKETS in os.environ:
        shutil.rmtree(os.environ[_SOCKETS], ignore_errors=True)


def _end(number: int, _: object) -> None:
    if os.getpid() != _SERVER:  # a copy, which got the signal from somebody else
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        return
    _remove_sockets()
    os._exit(1)


def _freeze() -> None:
    """Before a copy is made: its garbage collector leaves alone what is here, so that the memory stays shared."""
    if os.getpid() == _SERVER:
        gc.freeze()


atexit.register(_remove_sockets)
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(before=_freeze)
if hasattr(signal, "SIGUSR2"):  # not on Windows
    signal.signal(signal.SIGUSR2, _end)
    killed_with_parent(signal.SIGUSR2)
defer_torchmetrics()
