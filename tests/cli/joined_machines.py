"""Processes that pose as machines, and share the runs of one comparison, while they are killed and frozen.

Each machine is a copy of this process, so that it need not import the large libraries anew. It has a host name of its
own, a new one after each start: nobody can look up a process of another machine by its number.
"""

import csv
import json
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from redwood.engine import lease
from tests.cli.forked import start_forked
from tests.small_runs import MEASURED

LEASE_S, HEARTBEAT_S = 6.0, 0.5
PATIENCE_S = 3000.0


class Machine:
    """A process that runs the command line, and all that it starts.

    Attributes:
        name: Its host name.
        log: What it has printed since its last start.
    """

    def __init__(self, folder: Path, number: int) -> None:
        """Its logs go to `folder`."""
        self._folder, self._number, self._starts = folder, number, 0
        self._process = 0

    def start(self, *arguments: str) -> None:
        """Start the command line in a session of its own."""
        self._starts += 1
        self.name = f"machine{self._number}-{self._starts}"
        self.log = self._folder / f"{self.name}.txt"
        self._process = start_forked(arguments, self.log, self._prepare)

    def _prepare(self) -> None:
        socket.gethostname = lambda: self.name
        lease.LEASE_S, lease.HEARTBEAT_S = LEASE_S, HEARTBEAT_S

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all processes of the machine."""
        os.killpg(self._process, number)

    def kill(self) -> None:
        """End the machine as a power cut does."""
        self.signal(signal.SIGKILL)
        os.waitpid(self._process, 0)

    def wait(self) -> int:
        """The exit status of the command line."""
        return os.waitstatus_to_exitcode(os.waitpid(self._process, 0)[1])


@dataclass
class Joined:
    """What became of a comparison that several machines shared.

    Attributes:
        seconds: From the first start to the last end.
        kills: How often a machine was killed.
        frozen_s: How long a machine was frozen while it had a run, until another one had taken this run over.
        wrote_late: Whether the frozen machine has changed the results of that run after it woke.
        statuses: Exit status of each machine.
        runs: Runs with results.
        differs: Where the table and the results differ from those of one machine, times left out.
        tables: How many different tables the machines have printed.
    """

    seconds: float = 0.0
    kills: int = 0
    frozen_s: float = 0.0
    wrote_late: bool = False
    statuses: list[int] = field(default_factory=list)
    runs: int = 0
    differs: list[str] = field(default_factory=list)
    tables: int = 0


def join(folder: Path, arguments: list[str], runs: int, kills: int, machines: int = 3, seed: int = 0) -> Joined:
    """Have several machines do a comparison together, and compare it with that of one machine.

    Args:
        folder: New folder to work in.
        arguments: Of the command line, without `--run_dir`.
        runs: How many runs the comparison has.
        kills: How often a machine is killed, at random moments all over the comparison.
        machines: How many there are. One of them is frozen halfway, and woken when it has lost its run.
        seed: Decides the moments.
    """
    folder.mkdir(parents=True)
    alone = Machine(folder, 0)
    alone.start(*arguments, "--run_dir", str(folder / "alone"))
    assert alone.wait() == 0, alone.log.read_text()
    random, found, shared = Random(seed), Joined(), folder / "shared"
    go_on = ["--resume", str(shared), "--jobs", "1"]
    started = time.monotonic()
    nodes = [Machine(folder, number) for number in range(1, machines + 1)]
    nodes[0].start(*arguments, "--run_dir", str(shared))
    _wait(lambda: (shared / "comparison.yaml").exists())
    for node in nodes[1:]:
        node.start(*go_on)
    late: tuple[Path, bytes] | None = None
    while found.kills < kills:
        _wait(lambda: _complete(shared) >= (found.kills + 1) * runs // (kills + 3))
        time.sleep(random.uniform(0.0, 1.0))
        node = random.choice(nodes)
        node.kill()
        found.kills += 1
        if found.kills == (kills + 1) // 2:
            late = _freeze(nodes, node, shared, found)
        node.start(*go_on)
    found.statuses = [node.wait() for node in nodes]
    found.seconds = time.monotonic() - started
    found.runs = _complete(shared)
    found.wrote_late = late is None or late[0].read_bytes() != late[1]
    found.tables = len({node.log.read_text() for node in nodes})
    found.differs = differences(folder / "alone", shared)
    return found


def _freeze(nodes: list[Machine], other: Machine, shared: Path, found: Joined) -> tuple[Path, bytes]:
    """Freeze a machine that has a run, until another one has completed this run, and wake it."""
    held: list[tuple[Machine, Path]] = []

    def look() -> bool:
        for path in shared.glob(f"*/{lease.LOCK_FILE}"):
            held[:] = [(node, path.parent) for node in nodes if node is not other and _names(path, node.name)]
            if held:
                held[0][0].signal(signal.SIGSTOP)
                if _names(path, held[0][0].name):  # it may have ended the run in between
                    return True
                held[0][0].signal(signal.SIGCONT)
        return False

    _wait(look)
    node, run = held[0]
    frozen = time.monotonic()
    _wait((run / "results.json").exists)
    found.frozen_s = time.monotonic() - frozen
    written = (run / "results.json").read_bytes()
    node.signal(signal.SIGCONT)
    return run / "results.json", written


def _names(path: Path, machine: str) -> bool:
    try:
        return f"host={machine}?" in path.read_text() or f"host={machine}\n" in path.read_text()
    except FileNotFoundError:
        return False


def _complete(folder: Path) -> int:
    return len(list(folder.glob("*/results.json")))


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "nothing goes on"
        time.sleep(0.02)


def differences(alone: Path, shared: Path) -> list[str]:
    """Names of the files that differ by more than times."""
    differs = [] if _table(alone) == _table(shared) else ["comparison.csv"]
    names = {path.parent.name for folder in (alone, shared) for path in folder.glob("*/results.json")}
    return differs + [name for name in sorted(names) if _results(alone / name) != _results(shared / name)]


def _table(folder: Path) -> list[dict[str, str]]:
    with (folder / "comparison.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if not k.startswith(MEASURED)} for row in csv.DictReader(file)]


def _results(folder: Path) -> Any:
    try:
        content = json.loads((folder / "results.json").read_text())
    except FileNotFoundError:
        return None
    content["cost"] = {name: value for name, value in content["cost"].items() if name not in MEASURED}
    return content
