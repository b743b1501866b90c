"""A folder that one process at a time may write to."""

import os
import socket
import time
from pathlib import Path

from filelock import SoftFileLock, Timeout

from redwood.core.errors import RedwoodError

try:
    import fcntl
except ModuleNotFoundError:  # on Windows
    fcntl = None  # type: ignore[assignment]

PATIENCE_S, POLL_S = 5.0, 0.1
LOCK_FILE = ".lock"


class FolderLock:
    """Held from `acquire` to `release`, or to the end of the process, whatever ends it.

    The lock is a file in the folder. Only one process can create it, also on network file systems; it names the process
    and its machine. A killed process leaves the file behind. So the holder also has the system's lock of the folder,
    which ends with the process and holds on its machine only. If the system's lock is free, no process of this machine
    holds the folder, whatever the file says: it was left by a killed process, or copied with the folder. Nobody can
    know whether a process on another machine still lives; the user is told which file to remove.
    """

    def __init__(self) -> None:
        """Make a lock that is not held yet."""
        self._file: SoftFileLock | None = None
        self._descriptor: int | None = None

    def acquire(self, folder: Path) -> None:
        """Lock the folder, unless this object has done so.

        Raises:
            RedwoodError: If another process holds it for more than a few seconds (child processes of a killed process
                may take that long to end), or if the folder cannot be written to.
        """
        if self._file is not None:
            return
        deadline = time.monotonic() + PATIENCE_S
        try:
            while not self._acquired(folder):
                if time.monotonic() > deadline:
                    raise RedwoodError(_refusal(folder))
                time.sleep(POLL_S)
        except OSError as error:
            raise RedwoodError(
                f"{folder} cannot be written ({error.strerror}); make it writable, or copy it to another disk."
            ) from error

    def _acquired(self, folder: Path) -> bool:
        descriptor, alone_here = _lock_on_this_machine(folder)
        file = SoftFileLock(folder / LOCK_FILE, thread_local=False)
        try:
            if alone_here is False:
                return False
            if alone_here and (holder := _holder(folder)) and holder[1] == socket.gethostname():
                file.break_lock()
            file.acquire(blocking=False)
            self._file, self._descriptor, descriptor = file, descriptor, None
            return True
        except Timeout:
            return False
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def release(self) -> None:
        """Let other processes lock the folder."""
        if self._file is not None:
            self._file.release()
            self._file = None
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _lock_on_this_machine(folder: Path) -> tuple[int | None, bool | None]:
    """A descriptor of the folder, and whether it has the lock of this machine; None if there are no such locks."""
    if fcntl is None:
        return None, None
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return descriptor, False
    except OSError:
        return descriptor, None
    return descriptor, True


def _holder(folder: Path) -> tuple[int, str] | None:
    """The process and the machine that a lock file names; None if there is no such file, or it is damaged."""
    try:
        process, machine, *_ = (folder / LOCK_FILE).read_text().splitlines()
        return int(process), machine.partition("?")[0]  # filelock adds the container, which has numbers of its own
    except (OSError, ValueError):
        return None


def _refusal(folder: Path) -> str:
    holder, file = _holder(folder), folder / LOCK_FILE
    if holder is None:
        return f"Another process is writing to {folder}; wait until it ends; if there is none, remove {file}."
    process, machine = holder
    refusal = (
        f"Process {process} on {machine} is writing to {folder}; wait until it ends, or end it, "
        f"and go on with --resume {folder}"
    )
    if machine == socket.gethostname():
        return f"{refusal}."
    return f"{refusal}; if it has been killed, or this folder is a copy, remove {file} first."
