"""To whom files in shared memory belong: the process of torchrun on this machine, which starts its workers again."""

import os
import subprocess
import sys
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from redwood.buffers.shared import keeper
from redwood.core.errors import BufferInputError

NAME = "redwood-rehearsal"
# Keepers that this process has started; their status is taken when the next one is.
_KEEPERS: list[subprocess.Popen[bytes]] = []


class Owner(NamedTuple):
    """A process of torchrun.

    Attributes:
        pid: Its number.
        started: When it was started, as numbers are used again.
    """

    pid: int
    started: str

    @property
    def prefix(self) -> str:
        """The prefix of the names of its files."""
        return f"{NAME}-{_boot()}.{_container()}-{self.pid}-{self.started}-"

    def is_alive(self) -> bool:
        """True if the process still runs."""
        return keeper.start_of(self.pid) == self.started

    def start_keeper(self, folder: Path) -> None:
        """Have the files of this owner in a folder removed once it has ended.

        The keeper is in a session of its own: torchrun ends the process groups of its workers.
        """
        command = [sys.executable, "-I", "-S", keeper.__file__]
        arguments = [str(self.pid), self.started, str(folder), self.prefix]
        quiet = subprocess.DEVNULL
        _KEEPERS[:] = [one for one in _KEEPERS if one.poll() is None]
        _KEEPERS.append(
            subprocess.Popen(
                command + arguments, stdin=quiet, stdout=quiet, stderr=quiet, cwd="/", start_new_session=True
            )
        )


def owner_of_this_worker() -> Owner:
    """The process of torchrun that has started this worker, itself or by a script: the first without its variables.

    Raises:
        BufferInputError: If it was not torchrun that started it, or this is not Linux.
    """
    pid = os.getppid()
    while keeper.parent_of(pid) and _is_started_by_torchrun(pid):
        pid = keeper.parent_of(pid)
    started = keeper.start_of(pid) if "TORCHELASTIC_RUN_ID" in os.environ else None
    if started is None:
        raise BufferInputError(
            "The tier shared keeps rows for workers that torchrun starts again; start the run with torchrun on Linux, "
            "or choose the tier host."
        )
    return Owner(pid, started)


def remove_stale(folder: Path) -> None:
    """Remove the files of owners that have ended, of which even the keeper was killed.

    Owners in other containers, such as one that was started again, cannot be seen; their keepers' locks can.
    """
    head = f"{NAME}-{_boot()}."
    for name, _ in named_files(folder, head):
        container, pid, started, *_ = [*name.removeprefix(head).split("-"), "", ""]
        prefix = f"{head}{container}-{pid}-{started}-"
        if container == _container():
            has_ended = pid.isdecimal() and not Owner(int(pid), started).is_alive()
        else:
            has_ended = keeper.has_ended(str(folder), prefix)
        if has_ended:
            keeper.remove(str(folder), prefix)


def named_files(folder: Path, prefix: str) -> list[tuple[str, Path]]:
    """The files whose names begin so, or were to: the name of one that is being written has a dot before it."""
    entries = [(entry.name.lstrip("."), Path(entry.path)) for entry in os.scandir(folder)]
    return [(name, path) for name, path in entries if name.startswith(prefix)]


def _is_started_by_torchrun(pid: int) -> bool:
    """True if a process has the variables that torchrun gives to its workers, and they to others."""
    try:
        return b"TORCHELASTIC_RUN_ID=" in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


def _boot() -> str:
    """Tells apart machines and their starts."""
    return _short(Path("/proc/sys/kernel/random/boot_id").read_text())


def _container() -> str:
    """Tells apart containers: in another one the same number is another process's."""
    return _short(os.readlink("/proc/self/ns/pid"))


def _short(name: str) -> str:
    return blake2b(name.encode(), digest_size=4).hexdigest()
