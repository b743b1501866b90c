"""A folder that one process at a time may write to."""

import os
import time
from pathlib import Path

from redwood.settings.errors import RedwoodError

try:
    import fcntl
except ModuleNotFoundError:  # on Windows
    fcntl = None  # type: ignore[assignment]

PATIENCE_S, LOOK_S = 5.0, 0.1


class FolderLock:
    """Held from `acquire` to `release`, or to the end of the process, whichever way that ends.

    It is the operating system's lock of the folder itself, so nothing is left in it. Where there is none, as on Windows
    and on some network file systems, folders are written to without.
    """

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._descriptor: int | None = None

    def acquire(self, folder: Path) -> None:
        """Lock the folder, unless this object has done so.

        Raises:
            RedwoodError: If another process holds it, and still does after a few seconds: one that has just been killed
                may have processes that are yet to end.
        """
        if self._descriptor is None and fcntl is not None:
            self._descriptor = os.open(folder, os.O_RDONLY)
            deadline = time.monotonic() + PATIENCE_S
            while not self._locks(self._descriptor):
                if time.monotonic() > deadline:
                    self.release()
                    raise RedwoodError(
                        f"Another process is writing to {folder}; wait until it ends, or end it, "
                        f"and go on with --resume {folder}."
                    )
                time.sleep(LOOK_S)

    @staticmethod
    def _locks(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            pass  # the file system has no locks
        return True

    def release(self) -> None:
        """Let others have the folder."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
