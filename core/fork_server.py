"""Start processes as copies of a server process that has imported the libraries: within a tenth of a second.

The server computes nothing, opens no device and has no threads of its own. It ends with the process that started it.
This module imports nothing heavy. It builds on private parts of multiprocessing, in the versions of Python that
`TESTED` names; elsewhere `is_available` says so, and processes have to be started anew.
"""

import io
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from multiprocessing import forkserver, get_all_start_methods, popen_forkserver, reduction, spawn, util
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess, set_spawning_popen
from multiprocessing.process import BaseProcess
from pathlib import Path

from typing_extensions import override

from redwood.core.child_processes import interrupts_blocked
from redwood.core.errors import RedwoodError
from redwood.core.user_warnings import warn

# Signals that may reach all processes of a terminal or of a scheduler's job. They would end the server, and the exit
# statuses of its copies would be lost.
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)]
_FIRST = "redwood.core.server_start"
_SOCKETS = "REDWOOD_SERVER_SOCKETS"  # where the server's socket lies, for `server_start`
_TRIES = 3
_POLL_S = 0.05
TESTED = ((3, 11), (3, 12), (3, 13))  # versions of Python


def is_available() -> bool:
    """Return whether this system and this version of Python have such a server; warn of a version that has not."""
    if "forkserver" not in get_all_start_methods():
        return False
    if sys.version_info[:2] not in TESTED:
        warn(
            f"Processes cannot be copied under Python {sys.version_info[0]}.{sys.version_info[1]}, only under 3.11 to "
            "3.13; each one imports the libraries anew, which takes seconds."
        )
        return False
    return True


class ForkServerError(RedwoodError):
    """The server ends again and again."""


class ForkServer(forkserver.ForkServer):
    """A server of its own, beside the one that multiprocessing has for all others in this process.

    So libraries in the server find the variables given here, and processes that a user starts find signals as usual.
    A server that is killed is started anew for the next copy, in the same way.
    """

    # Of the class above.
    _lock: AbstractContextManager[object]
    _forkserver_pid: int | None
    _stop_unlocked: Callable[[], None]

    def __init__(self, preload: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start nothing yet.

        Args:
            preload: Modules that the server imports. None of them may use a device, such as CUDA, or start a thread.
            environment: Variables that the server has beside those of this process; libraries read some when imported.
        """
        super().__init__()
        self.set_forkserver_preload([_FIRST, *preload])
        self._environment = dict(environment)

    @override
    def ensure_running(self) -> None:
        """Start the server, if it does not run, and return at once, while it imports."""
        with _signals_blocked(), _variables(self._environment | {_SOCKETS: util.get_temp_dir()}):
            super().ensure_running()

    def start_process(self, target: Callable[..., object], args: tuple[object, ...]) -> "Copy":
        """Start a copy, once the server has imported; signals do not reach it before it calls `accept_signals`.

        Raises:
            ForkServerError: If the server ends before it has made the copy, several times.
        """
        for _ in range(_TRIES):
            process = Copy(self, target, args)
            try:
                process.start()
            except (EOFError, ConnectionError):  # nobody is left to read the request, or to answer it
                self.stop()  # it may not have ended quite yet
                continue
            return process
        raise ForkServerError(
            f"The server process that jobs are copies of has ended {_TRIES} times before it made one, "
            "as the system does when memory runs out; use fewer --jobs then, or --jobs 1."
        )

    def stop(self) -> None:
        """End the server; copies that are left go on without it."""
        with self._lock:
            number = self._forkserver_pid
            if number is not None:
                # Without this, it would wait for all processes that hold its pipe, such as those that copies started.
                os.kill(number, signal.SIGKILL)
                self._stop_unlocked()


class Copy(ForkServerProcess):
    """A process that is a copy of a server, and may outlive it."""

    _popen: "_Popen"  # once it has started

    def __init__(self, server: forkserver.ForkServer, target: Callable[..., object], args: tuple[object, ...]) -> None:
        super().__init__(target=target, args=args)
        self._server = server

    @property
    def is_orphan(self) -> bool:
        """True if the server is known to have ended first. Then `exitcode` and `sentinel` say nothing."""
        return self._popen.is_orphan

    def __getstate__(self) -> dict[str, object]:
        """Return the attributes that the process itself gets: all but the server."""
        return {name: value for name, value in vars(self).items() if name != "_server"}

    @override
    def _Popen(self, process_obj: BaseProcess) -> "_Popen":  # type: ignore[override]
        return _Popen(process_obj, self._server)


class _Popen(popen_forkserver.Popen):
    """Asks the system whether a process lives, if its server is lost."""

    _fds: list[int]  # of the class above

    def __init__(self, process_obj: BaseProcess, server: forkserver.ForkServer) -> None:
        self._server = server
        self.is_orphan = False
        super().__init__(process_obj)

    def _launch(self, process_obj: BaseProcess) -> None:
        """As in the class above, which knows only the server of multiprocessing."""
        data = io.BytesIO()
        set_spawning_popen(self)
        try:
            reduction.dump(spawn.get_preparation_data(process_obj.name), data)
            reduction.dump(process_obj, data)
        finally:
            set_spawning_popen(None)
        self.sentinel, writer = self._server.connect_to_new_process(self._fds)
        # The process sees by the other end that this one has ended.
        self.finalizer = util.Finalize(self, _close, (os.dup(writer), self.sentinel))
        with open(writer, "wb") as file:
            file.write(data.getbuffer())
        self.pid = forkserver.read_signed(self.sentinel)

    @override
    def poll(self, flag: int = os.WNOHANG) -> int | None:
        waits = None if flag != os.WNOHANG else 0
        if self.returncode is None and not self.is_orphan and wait([self.sentinel], waits):
            try:
                self.returncode = forkserver.read_signed(self.sentinel)
            except (OSError, EOFError):
                self.is_orphan = True
        if self.returncode is None and self.is_orphan and not _runs(self.pid):
            self.returncode = 255
        return self.returncode

    @override
    def wait(self, timeout: float | None = None) -> int | None:
        deadline = float("inf") if timeout is None else time.monotonic() + timeout
        super().wait(timeout)
        while self.is_orphan and self.poll() is None and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        return self.returncode


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _runs(number: int) -> bool:
    try:
        os.kill(number, 0)
    except (ProcessLookupError, PermissionError):  # the latter: the number belongs to somebody else by now
        return False
    try:  # an orphan may be left as a zombie, where nobody collects these
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return not Path("/proc/self/stat").exists()


def accept_signals() -> None:
    """Unblock the signals that a new process has inherited as blocked."""
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
