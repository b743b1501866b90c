"""Jobs that import nothing, for the processes of a pool."""

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from redwood.core.fork_server import accept_signals

if TYPE_CHECKING:
    from redwood.experiments.launchers.jobs import Failure


@dataclass(frozen=True)
class SmallJob:
    """What a pool asks of a job."""

    name: str
    folder: Path
    devices: str | None = None
    width: int = 1

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.txt"

    def write_failure(self, failure: "Failure") -> None:
        (self.folder / f"{self.name}.failure").write_text(failure.reason)


def run_small(job: SmallJob) -> list[int]:
    """Do what the name of the job says; returns the number of threads that its server was started with."""
    variables = Path(f"/proc/{os.getppid()}/environ").read_bytes().split(b"\0")
    if job.name.startswith("kills_server"):
        wait_for(job.folder / "waits.txt")
        os.kill(os.getppid(), signal.SIGKILL)
        (job.folder / "killed").touch()
    if job.name == "waits":
        wait_for(job.folder / "killed")
        time.sleep(0.5)  # the pool has noticed by then
    if job.name.endswith("and_itself"):
        os._exit(1)
    return [int(each.partition(b"=")[2]) for each in variables if each.startswith(b"OMP_NUM_THREADS=")]


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.01)


def lead_no_group(pipe: Connection, environment: Mapping[str, str]) -> None:
    accept_signals()
    time.sleep(60)
