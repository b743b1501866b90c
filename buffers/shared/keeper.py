"""A process that waits until torchrun has ended, however it ended, and then removes the files of its workers.

Workers cannot do that: they are killed, and the next ones need the files. torchrun cannot either: it may be killed. The
process imports next to nothing, so that it starts in milliseconds and takes few megabytes.

Run: python -I -S keeper.py PID STARTED FOLDER PREFIX
"""

import contextlib
import fcntl
import os
import select
import sys
import time

# Workers that outlive torchrun may be making a file while others are removed; a second look finds it.
SECOND_LOOK_S = 2.0
# How often to look where the system does not tell of the end of a process.
POLL_S = 1.0
# A file that the keeper of some files locks as long as it runs, and how old it is before its lock tells something.
LOCK, YOUNG_S = "keeper", 60.0


def start_of(pid: int) -> str | None:
    """When a process was started, in ticks since boot; None if there is no such process, or it has ended."""
    fields = _status(pid)
    return fields[19] if fields else None


def parent_of(pid: int) -> int:
    """The process that has started a process; 0 if there is none that can be seen."""
    fields = _status(pid)
    return int(fields[1]) if fields else 0


def _status(pid: int) -> list[str]:
    """Return the status of a process as Linux has it, from the state on; empty if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return []
    return [] if fields[0] in "ZX" else fields


def has_ended(folder: str, prefix: str) -> bool:
    """True if the keeper of some files was killed, and so the process that they belong to, if that cannot be seen."""
    try:
        lock = os.open(os.path.join(folder, f"{prefix}{LOCK}"), os.O_RDONLY)
    except OSError:
        return False
    try:
        is_young = time.time() - os.fstat(lock).st_mtime < YOUNG_S
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(lock)
    return not is_young


def remove(folder: str, prefix: str) -> None:
    """Remove the files of a folder whose names begin so; that of one that is being written has a dot before it."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            if entry.name.lstrip(".").startswith(prefix):
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)


def wait_for_end(pid: int, started: str) -> None:
    """Wait until a process has ended."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:  # it has ended
        return
    except OSError:  # such handles are not allowed or not known here, or there are too many of them
        while start_of(pid) == started:
            time.sleep(POLL_S)
        return
    if start_of(pid) == started:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        poll.poll()


def keep(pid: int, started: str, folder: str, prefix: str) -> None:
    """Remove the files once the process has ended, unless another keeper does so already."""
    lock = os.open(os.path.join(folder, f"{prefix}{LOCK}"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return
    wait_for_end(pid, started)
    remove(folder, prefix)
    time.sleep(SECOND_LOOK_S)
    remove(folder, prefix)


if __name__ == "__main__":
    keep(int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4])
