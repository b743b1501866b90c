"""A folder that one process at a time may write to, among all machines that share the file system.

The process that has the folder's lease shows every few seconds that it lives. If it does not for `LEASE_S`, another
process takes the lease over. No clock is compared with another machine's: whoever waits measures on a clock of its own
for how long the file of the lease has not changed.

A process that was frozen, and wakes after it has lost its lease, writes nothing more: each file is written under a
temporary name, and `FolderLease.check` is asked before it gets its name (`redwood.core.files.guard`). If the process
freezes between the two, the next owner has removed the temporary file by the time that it wakes.
"""

import os
import sys
import time
from contextlib import suppress
from pathlib import Path

from filelock import LeaseSettingsMismatch, SoftFileLease, Timeout

from redwood.core.errors import ElsewhereError, RedwoodError
from redwood.core.files import guard, temporary_path, unguard

LEASE_S = 60.0  # without a sign of life, until another process takes over
HEARTBEAT_S = 5.0  # between signs of life
POLL_S = 0.2
LOCK_FILE = ".lock"
_HELD: set[int] = set()  # inodes of the leases that this process has
_LOOKS = 3  # at a lease that cannot be read, before it counts as lost


class FolderLease:
    """Held from `acquire` to `release`, or until `LEASE_S` after the last sign of life of this process.

    The lease is a file in the folder, by `filelock.SoftFileLease`: only one process can create it, also on network file
    systems, and it names the process and its machine. The lease of a process that has died on this machine is free at
    once.
    """

    def __init__(self) -> None:
        """Make a lease of no folder yet."""
        self._folder: Path | None = None
        self._lease: SoftFileLease | None = None
        self._held, self._inode = False, 0
        self._seen: tuple[float, int, int] | None = None
        self._seen_at = 0.0
        self._answered = self._empty = False

    def __reduce__(self) -> tuple[type["FolderLease"], tuple[()]]:
        """A copy, such as the one that a worker sends back with its method, has no folder."""
        return FolderLease, ()

    def acquire(self, folder: Path) -> None:
        """Wait until the folder is this process's own, unless it is already.

        Raises:
            ElsewhereError: If another process shows that it lives.
            RedwoodError: If the folder cannot be written to.
        """
        started, told = time.monotonic(), False
        while not self.try_acquire(folder):
            if self._answered:
                raise ElsewhereError(
                    f"{self._owner()} is writing to {folder}; wait until it ends, or end it, "
                    f"and go on with --resume {folder}."
                )
            if not told and time.monotonic() - started > HEARTBEAT_S:
                told = True
                text = f"{self._owner()} has written to {folder}; it is taken over if it does not answer for"
                print(f"{text} {self._patience():.0f} s", file=sys.stderr)
            time.sleep(POLL_S)

    def try_acquire(self, folder: Path) -> bool:
        """Whether the folder is this process's own now; never waits.

        Asked again and again, it notices when the owner does not answer any more, and takes the folder over.

        Raises:
            RedwoodError: If the folder cannot be written to.
        """
        if self._held:
            return True
        if self._lease is None or folder != self._folder:
            self._folder = folder
            self._lease = SoftFileLease(
                folder / LOCK_FILE, lease_duration=LEASE_S, heartbeat_interval=HEARTBEAT_S, thread_local=False
            )
            self._seen, self._answered = None, False
        try:
            self._lease.acquire(blocking=False)
        except Timeout:
            self._watch(folder / LOCK_FILE)
            if self._lease.is_lock_held_by_us and self._seen is not None and self._seen[1] not in _HELD:
                self._lease.break_lock()  # this folder is a copy of one that this process has, or had
            return False
        except LeaseSettingsMismatch as error:
            raise ElsewhereError(f"{folder} is used by another version of redwood; wait until it ends.") from error
        except IsADirectoryError as error:
            raise RedwoodError(f"{folder / LOCK_FILE} is a folder, where a lock has its file; remove it.") from error
        except OSError as error:
            raise RedwoodError(
                f"{folder} cannot be written ({error.strerror}); make it writable, or copy it to another disk."
            ) from error
        self._held, self._inode = True, (folder / LOCK_FILE).stat().st_ino
        _HELD.add(self._inode)
        guard(folder, self.check)
        return True

    def check(self) -> None:
        """Raise `ElsewhereError` if this process had the lease and has lost it."""
        if not self._held:
            return
        assert self._lease is not None
        for _ in range(_LOOKS):
            owner = self._lease.owner
            if owner is not None and owner.token == self._lease.token:
                return
            if owner is not None:
                break
            time.sleep(POLL_S)
        raise ElsewhereError(
            f"This process did not answer for {LEASE_S:.0f} s, and another one has taken over {self._folder}; "
            "this one ends."
        )

    def release(self) -> None:
        """Let other processes have the folder."""
        if self._held:
            assert self._lease is not None and self._folder is not None
            unguard(self._folder)
            _HELD.discard(self._inode)
            self._held = False
            self._lease.release()

    def _watch(self, path: Path) -> None:
        """Note whether the owner has shown since the last look that it lives."""
        try:
            # Opened, because network file systems may answer from a cache if only the name is looked up. A pipe of
            # this name is not waited for.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            try:
                found = os.fstat(descriptor)
            finally:
                os.close(descriptor)
        except OSError:
            return
        self._empty = found.st_size == 0
        seen = (found.st_mtime, found.st_ino, found.st_ctime_ns)
        if seen != self._seen:
            self._answered = self._seen is not None
            self._seen, self._seen_at = seen, time.monotonic()
        elif time.monotonic() - self._seen_at > self._patience() + HEARTBEAT_S:
            _remove_expired(path, seen[:2])

    def _patience(self) -> float:
        """Seconds without a sign of life until the folder is taken over.

        The file of a lease is empty for microseconds, unless its process died at that moment or the power was cut.
        Nobody has worked in the folder under such a lease. filelock leaves the file where it is.
        """
        return HEARTBEAT_S if self._empty else LEASE_S

    def _owner(self) -> str:
        owner = None if self._lease is None else self._lease.owner
        if owner is None:
            return "Another process"
        return f"Process {owner.pid} on {owner.hostname.partition('?')[0]}"  # filelock adds the container


def _remove_expired(path: Path, judged: tuple[float, int]) -> None:
    """Remove a lease that has expired, where filelock cannot: NFS has no call that exchanges two names.

    Of several processes that do this at once, one moves the file. If that is not the file that was judged, its owner
    gets it back, or finds out before the next write that it has lost the folder.
    """
    aside = temporary_path(path)
    with suppress(OSError):
        os.rename(path, aside)
        found = aside.stat()
        if (found.st_mtime, found.st_ino) != judged:
            with suppress(OSError):
                os.link(aside, path)
        aside.unlink()


def is_held(folder: Path) -> bool:
    """Whether another process has the folder, or has died on another machine within the last `LEASE_S`."""
    if not (folder / LOCK_FILE).exists():
        return False
    lease = FolderLease()
    if lease.try_acquire(folder):
        lease.release()
        return False
    return True
