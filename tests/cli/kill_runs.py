"""Runs that a signal ends and that are resumed, and all that the signal may leave behind.

Each run leads a session of its own, by which the processes that it has started are known, and has a temporary folder of
its own. It is a copy of this process, so that it need not import the large libraries anew.
"""

import contextlib
import json
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import torch

from redwood.engine import processes
from redwood.engine.checkpoints import read_checkpoint
from redwood.experiments.launchers.plan import is_comparison
from tests.cli.forked import start_forked
from tests.small_runs import MEASURED

PATIENCE_S = 240.0
GONE_S = 20.0  # for processes to notice that another one has been killed
LOOK_S = 0.002


@dataclass(frozen=True)
class Killed:
    """What became of a run that was killed.

    Attributes:
        who: The process that was killed: the main process, a worker, or the whole group.
        where: What was on the disk by then.
        seconds: Until no process was left.
        left: What was left behind at the end, after the run was gone on with; in words, nothing if all is well.
        differs: Where results, logs, state or files differ from those of the whole run.
        log: What the processes printed.
    """

    who: str
    where: str
    seconds: float
    left: list[str]
    differs: list[str]
    log: str


class Place:
    """Where one run is done: its folder, its temporary folder and its output."""

    def __init__(self, folder: Path, start_method: str) -> None:
        """Make the folders; `start_method` says how the run starts its workers."""
        self.run, self.temporary, self.log = folder / "run", folder / "temporary", folder / "log.txt"
        self.temporary.mkdir(parents=True)
        self._start_method = start_method
        self._shared = set(os.listdir("/dev/shm"))

    def start(self, *arguments: str) -> int:
        """Start the command line; returns the number of its process, which leads a session."""
        return start_forked(arguments, self.log, self._prepare)

    def _prepare(self) -> None:
        os.environ["TMPDIR"], tempfile.tempdir = str(self.temporary), None
        signal.signal(signal.SIGINT, signal.default_int_handler)
        replaced = SimpleNamespace(get_context=lambda _: multiprocessing.get_context(self._start_method))
        vars(processes)["multiprocessing"] = replaced

    def complete(self, *arguments: str) -> int:
        """Run the command line to its end; returns its exit status."""
        return exit_status(self.start(*arguments))

    def left(self) -> list[str]:
        """What is left of the run that was started in this place, beside its folder."""
        shared = sorted(set(os.listdir("/dev/shm")) - self._shared)
        files = sorted(str(path.relative_to(self.temporary)) for path in self.temporary.rglob("*"))
        # torch makes this folder for whatever it may compile, and leaves it after any run.
        return [f"/dev/shm/{name}" for name in shared] + [name for name in files if name != f"torchinductor_{user()}"]


def kill_and_resume(
    folder: Path,
    arguments: list[str],
    whole: Path,
    whole_s: float,
    seed: int,
    who: str,
    start_method: str = "fork",
    sent: int = signal.SIGKILL,
) -> Killed:
    """Send a signal to a run or a comparison at a random moment, go on with it, and compare it with the whole one.

    Args:
        folder: New folder to work in.
        arguments: Of the command line, without `--run_dir`.
        whole: Run directory of the same run, which nobody killed.
        whole_s: How long that took from the time that its folder appeared.
        seed: Decides the moment.
        who: `main`, `worker` or `group`.
        start_method: How workers are started.
        sent: The signal.
    """
    place, random = Place(folder, start_method), Random(seed)
    leader = place.start(*arguments, "--run_dir", str(place.run))
    if random.random() < 0.9:  # else, while there is nothing yet
        wait_until(lambda: begun(place.run), leader)
    time.sleep(random.uniform(0.0, whole_s))
    where = stage(place.run)
    members = session(leader)
    if not members:  # it was over before: earlier, then
        exit_status(leader)
        return kill_and_resume(folder / "again", arguments, whole, whole_s / 2, seed, who, start_method, sent)
    if who == "group":
        for number in members:
            kill(number, sent)
    else:
        workers = [number for number in members if number != leader and is_worker(number, leader)]
        if who == "worker" and not workers:
            who = "main"
        kill(random.choice(workers) if who == "worker" else leader, sent)
    killed = time.monotonic()
    exit_status(leader)
    while session(leader) and time.monotonic() < killed + GONE_S:
        time.sleep(LOOK_S)
    seconds = time.monotonic() - killed
    left = [f"process {number}: {command(number)}" for number in session(leader)] + place.left()
    go_on = ["resume", str(place.run)]
    if not begun(place.run):
        go_on = [*arguments, "--run_dir", str(place.run)]
    status = place.complete(*go_on)
    compare = differences_of_several if is_comparison(whole) else differences
    differs = [f"exit status {status}"] if status else compare(place.run, whole)
    return Killed(who, where, seconds, left + place.left(), differs, place.log.read_text())


def begun(run: Path) -> bool:
    """Whether a run or a comparison can be resumed."""
    return (run / "config.yaml").exists() or is_comparison(run)


def differences_of_several(run: Path, whole: Path) -> list[str]:
    """Where the runs of a comparison differ from those of the whole one."""
    names = sorted({path.parent.name for folder in (run, whole) for path in folder.glob("*/config.yaml")})
    missing = [f"{name} is missing" for name in names if not (run / name / "results.json").exists()]
    return missing or [f"{name}: {found}" for name in names for found in differences(run / name, whole / name)]


def differences(run: Path, whole: Path) -> list[str]:
    """Where a run differs from the whole one, but for what a clock measured."""
    found = []
    results, expected = (json.loads((folder / "results.json").read_text()) for folder in (run, whole))
    for content in (results, expected):
        for name in MEASURED:
            content["cost"].pop(name, None)
    found += [f"results: {key}" for key in expected if results.get(key) != expected[key]]
    files, expected_files = ({str(path.relative_to(folder)) for path in folder.rglob("*")} for folder in (run, whole))
    # Drawn from clocks of the last phase: a run that is killed after that phase has none to draw.
    found += [
        f"files: {name}"
        for name in sorted((files ^ expected_files) - {"rehearsal_timeline.png", "rehearsal_timeline.svg"})
    ]
    states = [read_checkpoint(folder / "checkpoints" / "boundary.pt", "")["method"] for folder in (run, whole)]
    return found + ([] if equal(*states) else ["final state"])


def equal(one: Any, other: Any) -> bool:
    """Whether two trees of tensors and plain values are the same to the bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


def stage(run: Path) -> str:
    """How far a run is, by the files that it has written; of a comparison, how many of its runs are complete."""
    if is_comparison(run):
        begun, complete = (len(list(run.glob(f"*/{name}"))) for name in ("config.yaml", "results.json"))
        return f"{complete} of {begun} begun runs complete"
    if not (run / "config.yaml").exists():
        return "before its first file"
    if (run / "results.json").exists():
        return "results written"
    if list(run.glob("*.png")):
        return "drawing"
    inside = sorted(path.stem for path in (run / "checkpoints").glob("inside-phase-*.ckpt"))
    return inside[-1] if inside else "boundary" if (run / "checkpoints" / "boundary.pt").exists() else "begun"


def session(leader: int) -> list[int]:
    """The processes of a session that are alive."""
    found = []
    for entry in Path("/proc").iterdir():
        fields = stat(int(entry.name)) if entry.name.isdigit() else None
        if fields and int(fields[3]) == leader and fields[0] not in "ZX":
            found.append(int(entry.name))
    return found


def is_worker(number: int, leader: int) -> bool:
    """Whether a process is one that the leader has started, other than the one that keeps track of semaphores."""
    fields = stat(number)
    return fields is not None and int(fields[1]) == leader and "resource_tracker" not in command(number)


def stat(number: int) -> list[str] | None:
    """State, parent, group, session and so on of a process; see proc(5)."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def command(number: int) -> str:
    """The command of a process."""
    try:
        return Path(f"/proc/{number}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def kill(number: int, sent: int) -> None:
    """Send a signal to a process, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(number, sent)


def user() -> str:
    """The name that torch gives its folder."""
    import getpass

    return getpass.getuser()


def exit_status(child: int) -> int:
    """The exit status of a child; -n after signal n."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def wait_until(is_so: Callable[[], bool], child: int) -> None:
    """Wait until something is so, or the child has ended."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so() and (stat(child) or "Z")[0] not in "ZX":
        assert time.monotonic() < deadline
        time.sleep(LOOK_S)
