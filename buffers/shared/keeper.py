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


def start_of(pid: int) -> str | None:
    """When a process was started, in ticks since boot; None if there is no such process, or it has ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


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
    except OSError:  # it has ended
        return
    if start_of(pid) == started:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        poll.poll()


def keep(pid: int, started: str, folder: str, prefix: str) -> None:
    """Remove the files once the process has ended, unless another keeper does so already."""
    lock = os.open(os.path.join(folder, f"{prefix}keeper"), os.O_RDWR | os.O_CREAT, 0o600)
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
