"""One process at a time writes to a folder: a lock of the file system, which ends with the process."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from redwood.core.calls import resume_call
from redwood.core.errors import ElsewhereError, RedwoodError

LOCK_FILE = ".lock"
# Processes that a killed one has started may live for a moment longer, and work in its folder.
PATIENCE_S = 3.0
_POLL_S = 1.0


class FolderLock:
    """Held from `acquire` to `release`, or until this process ends.

    It is `flock` on a file in the folder. On file systems of several machines it holds between these where they
    support `flock`, as NFS 4, Lustre and GPFS can.
    """

    def __init__(self) -> None:
        """Make a lock of no folder yet."""
        self._lock: FileLock | None = None
        self._file: os.stat_result | None = None

    def __reduce__(self) -> tuple[type["FolderLock"], tuple[()]]:
        """A copy, such as the one that a worker sends back with its method, has no folder."""
        return FolderLock, ()

    def acquire(self, folder: Path, patience_s: float | None = PATIENCE_S) -> None:
        """Have the folder to oneself, unless one has it already.

        Args:
            folder: The folder.
            patience_s: Seconds to wait for another process; None waits until it ends.

        Raises:
            ElsewhereError: If another process still has the folder.
            RedwoodError: If the folder cannot be written to.
        """
        started = time.monotonic()
        while not self.try_acquire(folder):
            if patience_s is not None and time.monotonic() - started >= patience_s:
                raise ElsewhereError(
                    f"Another process is writing to {folder}; wait until it ends, or end it, "
                    f"and go on with {resume_call(folder)}."
                )
            time.sleep(_POLL_S if patience_s is None else min(_POLL_S, patience_s / 10))

    def try_acquire(self, folder: Path) -> bool:
        """Try to lock the folder without waiting; return whether this process has the lock.

        Raises:
            RedwoodError: If the folder cannot be written to.
        """
        if self._lock is not None:
            return True
        refuse_file(folder)
        path = folder / LOCK_FILE
        if path.exists() and not path.is_file():
            raise RedwoodError(f"{path} is no file, where a lock has its file; remove it.")
        lock = FileLock(path, thread_local=False)
        try:
            lock.acquire(blocking=False)
            self._file = path.stat()
        except Timeout:
            return False
        except OSError as error:
            raise RedwoodError(
                f"{folder} cannot be written ({error.strerror}); make it writable, or copy it to another disk."
            ) from error
        self._lock = lock
        return True

    def release(self) -> None:
        """Let other processes have the folder, and leave no file there."""
        if self._lock is not None:
            path = Path(self._lock.lock_file)
            # The folder may have been moved, and another process may have one of this name by now. Another process may
            # have opened the file, and get the lock after the file is removed: it notices that, and opens a new file.
            with suppress(OSError):
                if self._file is not None and os.path.samestat(path.stat(), self._file):
                    path.unlink()
            self._lock.release()
            self._lock = None


def refuse_file(folder: Path) -> None:
    """Raise `RedwoodError` if the folder of a run is a file."""
    if folder.exists() and not folder.is_dir():
        raise RedwoodError(f"{folder} is a file, where a run has its folder; remove it.")


@contextmanager
def locked(folder: Path, when: bool = True) -> Iterator[None]:
    """Have the folder to oneself inside the block, if `when`; see `FolderLock.acquire` for the errors."""
    lock = FolderLock()
    try:
        if when:
            lock.acquire(folder)
        yield
    finally:
        lock.release()
