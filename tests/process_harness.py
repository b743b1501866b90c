"""Processes of a test's own, of which it may kill or stop one to see what becomes of the others."""

import os
import signal
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Self

from tests.fork_server import become_worker, start_context
from tests.stack_dump import stacks_of, write_when_asked
from tests.workers import COLLECTIVE_S, join

LIMIT_S = 60


@dataclass(frozen=True)
class Fate:
    """How a process ended.

    Attributes:
        status: Its exit status: 0, 1 after an exception, -n after signal n.
        error: Name of the type of the exception that ended the job, if any.
        message: What that said.
        seconds: From the last blow to the end of the process.
    """

    status: int
    error: str | None
    message: str | None
    seconds: float


class Doomed:
    """Processes that run `job(rank, world, tell, *args)`, joined by gloo; all of them are gone in the end.

    A job tells the test how far it is by `tell(anything)`, which `hear` waits for.

    Attributes:
        limit_s: Longest that the test waits at once, for processes to say something or to end. Then it fails.

    Example:
        with Doomed(4, train, 100) as processes:
            processes.hear()
            processes.kill(2)
            fates = processes.fates()
    """

    def __init__(
        self,
        world: int,
        job: Callable[..., None],
        *args: Any,
        collective_s: float = COLLECTIVE_S,
        limit_s: float = LIMIT_S,
    ) -> None:
        """Say what to run.

        Args:
            world: Number of processes.
            job: Found by importing its module, like what it is given.
            *args: What it is given beside its rank, the world and `tell`.
            collective_s: Timeout of the default group.
            limit_s: As the attribute; it has to suffice for the processes to start.
        """
        self._world, self._job, self._args = world, job, args
        self._collective_s, self.limit_s = collective_s, limit_s

    def __enter__(self) -> Self:
        context = start_context()
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        self._stacks = [folder / f"stacks_{rank}" for rank in range(self._world)]
        # The other ends stay open here as well, so that there is no end of file to be told from a message.
        self._pipes, self._others = zip(*(context.Pipe() for _ in range(self._world)), strict=True)
        self._processes = [
            context.Process(
                target=_run,
                args=(rank, self._world, pipe, stacks, folder / "meeting_point", self._collective_s),
                kwargs={"job": self._job, "args": self._args},
                daemon=True,
            )
            for rank, (pipe, stacks) in enumerate(zip(self._others, self._stacks, strict=True))
        ]
        for process in self._processes:
            process.start()
        self._hit: set[int] = set()
        self._hit_at = 0.0
        return self

    def __exit__(self, *error: object) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.join()
        for pipe in (*self._pipes, *self._others):
            pipe.close()
        self._folder.cleanup()

    def hear(self) -> list[Any]:
        """What each process tells next."""
        heard = []
        deadline = time.monotonic() + self.limit_s
        for rank, pipe in enumerate(self._pipes):
            if not pipe.poll(max(0.0, deadline - time.monotonic())):
                self._fail([rank], "tells nothing")
            kind, *content = pipe.recv()
            assert kind == "told", f"{self._job.__name__} fails on worker {rank} of {self._world}: {content[-1]}"
            heard += content
        return heard

    def kill(self, rank: int) -> None:
        """End a process at once; its connections are closed, which the others may notice."""
        self._hit_by(signal.SIGKILL, rank)

    def stop(self, rank: int) -> None:
        """Have a process do nothing any more; its connections stay open."""
        self._hit_by(signal.SIGSTOP, rank)

    def _hit_by(self, blow: signal.Signals, rank: int) -> None:
        pid = self._processes[rank].pid
        assert pid
        self._hit.add(rank)
        self._hit_at = time.monotonic()
        os.kill(pid, blow)

    def fates(self) -> dict[int, Fate]:
        """How each process ended that was neither killed nor stopped, by rank."""
        errors: dict[int, tuple[str, str]] = {}
        fates: dict[int, Fate] = {}
        left = [rank for rank in range(self._world) if rank not in self._hit]
        deadline = time.monotonic() + self.limit_s
        while left:
            events: list[Any] = [self._pipes[rank] for rank in left]
            events += [self._processes[rank].sentinel for rank in left]
            if not wait(events, max(0.0, deadline - time.monotonic())):
                self._fail(left, "goes on")
            for rank in list(left):
                status = self._processes[rank].exitcode
                while self._pipes[rank].poll():
                    kind, *content = self._pipes[rank].recv()
                    if kind == "failed":
                        errors[rank] = content[0], content[1]
                if status is not None:
                    left.remove(rank)
                    error, message = errors.get(rank, (None, None))
                    fates[rank] = Fate(status, error, message, time.monotonic() - self._hit_at)
        return dict(sorted(fates.items()))

    def _fail(self, ranks: list[int], what: str) -> None:
        stacks = "\n".join(f"{rank}: {stacks_of(self._processes[rank], self._stacks[rank])}" for rank in ranks)
        raise AssertionError(
            f"{self._job.__name__} {what} for {self.limit_s:g} s on workers {ranks} of {self._world}\n{stacks}"
        )


def _run(
    rank: int,
    world: int,
    pipe: Connection,
    stacks: Path,
    meeting_point: Path,
    collective_s: float,
    job: Callable[..., None],
    args: tuple[Any, ...],
) -> None:
    write_when_asked(stacks)
    become_worker(rank)
    import torch

    torch.set_num_threads(1)
    join(meeting_point, rank, world, collective_s)
    try:
        job(rank, world, lambda content: pipe.send(("told", content)), *args)
    except BaseException as error:
        pipe.send(("failed", type(error).__name__, str(error), traceback.format_exc()))
        raise  # as in a process that a user has started
