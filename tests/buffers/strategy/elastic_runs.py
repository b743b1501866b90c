"""Runs under torchrun of which workers are killed, and what became of them."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from redwood.buffers.shared.owner import NAME
from tests.buffers.strategy import elastic_script
from tests.buffers.strategy.elastic_script import train

LIMIT_S = 180
SHARED_MEMORY = Path("/dev/shm")

ROOT = Path(__file__).resolve().parents[3]


class Torchrun:
    """A run under torchrun; all of its processes are gone in the end.

    Attributes:
        folder: Where its workers write.
    """

    def __init__(self, folder: Path, world: int, command: Sequence[object], *, restarts: int) -> None:
        """Start a program, given with its arguments, in so many processes."""
        self.folder, self._world = folder, world
        self._output = (folder / "output.txt").open("wb")
        options = ["--standalone", f"--nproc-per-node={world}", f"--max-restarts={restarts}"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", *options, *map(str, command)],
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(LIMIT_S)
        self._output.close()

    @property
    def output(self) -> str:
        return (self.folder / "output.txt").read_text(errors="replace")

    def notes(self, life: int, rank: int) -> list[dict[str, Any]]:
        """What a worker has noted so far, after so many restarts."""
        path = self.folder / f"life-{life}-rank-{rank}.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def wait_for(self, life: int, event: str, step: int = 0) -> None:
        """Wait until each worker has noted an event of some step or a later one, after so many restarts."""
        deadline = time.monotonic() + LIMIT_S
        for rank in range(self._world):
            while not any(n["event"] == event and n.get("step", 0) >= step for n in self.notes(life, rank)):
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise AssertionError(f"worker {rank} does not come to {event} {step} in life {life}\n{self.output}")
                time.sleep(0.02)

    def kill(self, life: int, rank: int) -> float:
        """Kill a worker; returns when."""
        pid = next(note["pid"] for note in self.notes(life, rank) if note["event"] == "begun")
        now = time.time()
        os.kill(pid, signal.SIGKILL)
        return now

    def wait(self) -> int:
        """The exit status of torchrun."""
        return self.process.wait(LIMIT_S)


def plain(folder: Path, world: int, steps: int, *, tier: str = "shared", restarts: int = 3) -> Torchrun:
    """The run of a plain Lightning Trainer."""
    return Torchrun(folder, world, [elastic_script.__file__, folder, steps, tier], restarts=restarts)


class Restart(NamedTuple):
    """A kill, and how the run went on.

    Attributes:
        rank: The worker that was killed.
        killed_after: Its last step before.
        went_on_s: Seconds until all workers had begun their next step.
        import_s: Seconds of these in which the slowest new process started up and imported.
        path: The checkpoint that it went on from.
        undone: Rows that all workers put back to it, by their journals.
    """

    rank: int
    killed_after: int
    went_on_s: float
    import_s: float
    path: Path
    undone: int


def kill_often(run: Torchrun, world: int, kills: int, longest_s: float, seed: int) -> list[Restart]:
    """Kill one of the workers again and again, each time at a random moment after all have begun a step."""
    generator, restarts = random.Random(seed), []
    run.wait_for(0, "step", elastic_script.SAVE_EVERY + 1)
    for life in range(kills):
        time.sleep(generator.uniform(0, longest_s))
        rank = generator.randrange(world)
        last = run.notes(life, rank)[-1]["step"]
        killed = run.kill(life, rank)
        run.wait_for(life + 1, "step")
        begun = [next(n for n in run.notes(life + 1, other) if n["event"] == "begun") for other in range(world)]
        steps = [next(n for n in run.notes(life + 1, other) if n["event"] == "step") for other in range(world)]
        undone = sum(
            n["records"] for other in range(world) for n in run.notes(life + 1, other) if n["event"] == "undone"
        )
        restarts.append(
            Restart(
                rank,
                last,
                max(note["time"] for note in steps) - killed,
                max(note["imported"] - note["at"] for note in begun),
                Path(begun[0]["path"]),
                undone,
            )
        )
    return restarts


def step_of(path: Path) -> int:
    return int(path.stem.removeprefix("step="))


def weights_from(path: Path, folder: Path, steps: int) -> list[Tensor]:
    """The weights after so many steps in all, of a run from a checkpoint whose rows are read from disk."""
    return train(folder, steps, path, lambda *event, **content: None, step_s=0.0, tier="host").weights


def weights_in(path: Path) -> list[Tensor]:
    """The weights in a checkpoint."""
    content = torch.load(path, weights_only=False)
    return list(content["state_dict"].values())


def leaked_files(run: Torchrun) -> list[str]:
    """Names of the files in shared memory that are left of a run."""
    return [path.name for path in SHARED_MEMORY.iterdir() if NAME in path.name and f"-{run.process.pid}-" in path.name]


def leaked_processes(run: Torchrun) -> list[str]:
    """Command lines of processes that still work for a run, or keep its files."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if f"{run.folder} " in line or f"-{run.process.pid}-" in line:
                found.append(line)
    return found


def nothing_is_left(run: Torchrun) -> bool:
    """Whether all files and processes of a run vanish soon."""
    deadline = time.monotonic() + LIMIT_S / 10
    while leaked_files(run) or leaked_processes(run):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
