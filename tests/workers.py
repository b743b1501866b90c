"""Processes that stay alive for a whole test session, since starting one takes seconds."""

import contextlib
import ctypes
import gc
import os
import pickle
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, NamedTuple, Self

from tests.fork_server import become_worker, start_context
from tests.stack_dump import stacks_of, write_when_asked

COLLECTIVE_S = 60
JOB_S = 120
IDLE_S = 30
# What the others have to notice that one has failed, and a process to leave its group or to end.
GRACE_S = 10


class Answer(NamedTuple):
    """What a job has come to on a worker: what it returned, pickled, or a traceback."""

    failed: bool
    content: Any


@dataclass
class Worker:
    """A process, and the means to hear of it."""

    process: ForkServerProcess
    pipe: Connection
    stacks: Path
    used: float = 0.0  # when it last got a job, of time.monotonic()

    def receive(self) -> Answer:
        try:
            return Answer(*pickle.loads(self.pipe.recv_bytes()))
        except (EOFError, ConnectionError):
            self.process.join()
            return Answer(True, f"it died with exit status {self.process.exitcode}")

    def has_left(self) -> bool:
        """Whether it is out of its group after a failure."""
        return self.pipe.poll(GRACE_S) and self.process.is_alive() and self.receive() == Answer(True, "left")

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


class GlooWorkers:
    """Runs functions on any number of workers that are joined by gloo, as `redwood.engine.launch` would start them.

    Worker r is the same process in worlds of all sizes; it is started when one first needs it.
    """

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory()
        self._workers: dict[int, Worker] = {}
        self._world = self._n_meetings = self._n_started = 0
        return self

    def __exit__(self, *error: object) -> None:
        for worker in self._workers.values():
            with contextlib.suppress(BrokenPipeError):
                worker.pipe.send_bytes(pickle.dumps(None))
        for worker in self._workers.values():
            worker.process.join(GRACE_S)
            worker.end()
        self._folder.cleanup()

    def run(self, world: int, job: Callable[..., Any], *args: Any, timeout_s: float = JOB_S) -> list[Any]:
        """What `job(*args)` returns on each of `world` workers; both have to be found by importing their module.

        Raises:
            AssertionError: If it fails or dies on a worker, or gives no answer in time. The next job then finds a new
                process group, and new processes in the place of those that are lost.
        """
        self._meet(world)
        meeting_point = Path(self._folder.name) / f"meeting_point_{self._n_meetings}"
        request = pickle.dumps((meeting_point, world, pickle.dumps((job, args))))
        for rank in range(world):
            self._workers[rank].used = time.monotonic()
            with contextlib.suppress(BrokenPipeError):  # it has died; there will be no answer
                self._workers[rank].pipe.send_bytes(request)
        answers: dict[int, Answer] = {}
        try:
            failures = self._listen(answers, job.__name__, timeout_s)
        finally:
            self._tidy(answers)
        assert not failures, "\n".join(failures)
        return [pickle.loads(answers[rank].content) for rank in range(world)]

    def end_idle(self) -> None:
        """End workers without a job for a while; a file's tests may need eight, of 150 to 350 MB each."""
        for rank in [rank for rank, worker in self._workers.items() if time.monotonic() - worker.used > IDLE_S]:
            self._workers.pop(rank).end()

    def _meet(self, world: int) -> None:
        """Have enough processes, and a new group if they are not the ones of the last job."""
        lost = [rank for rank, worker in self._workers.items() if not worker.process.is_alive()]
        for rank in lost:
            self._workers.pop(rank).end()
        missing = [rank for rank in range(world) if rank not in self._workers]
        for rank in missing:
            self._workers[rank] = self._started(rank)
        if missing or world != self._world:
            self._world = world
            self._n_meetings += 1

    def _started(self, rank: int) -> Worker:
        context = start_context()
        here, there = context.Pipe()
        self._n_started += 1
        stacks = Path(self._folder.name) / f"stacks_{self._n_started}"
        process = context.Process(target=_serve, args=(rank, there, stacks), daemon=True)
        process.start()
        there.close()  # so that the end of the process is an end of file here
        return Worker(process, here, stacks)

    def _listen(self, answers: dict[int, Answer], name: str, timeout_s: float) -> list[str]:
        """Collect answers until all are there or time is over; what went wrong, the first failure first."""
        failures: list[str] = []
        deadline = time.monotonic() + timeout_s
        while len(answers) < self._world:
            silent = {self._workers[rank].pipe: rank for rank in range(self._world) if rank not in answers}
            ready = wait(list(silent), max(0.0, deadline - time.monotonic()))
            for rank in (silent[pipe] for pipe in ready if isinstance(pipe, Connection)):
                answers[rank] = self._workers[rank].receive()
                if answers[rank].failed:
                    failures.append(f"{name} fails on worker {rank} of {self._world}: {answers[rank].content}")
                    deadline = min(deadline, time.monotonic() + GRACE_S)
            if not ready:
                hanging = [(rank, self._workers[rank]) for rank in silent.values()]
                return failures + [
                    f"{name} hangs on worker {rank} of {self._world}\n{stacks_of(worker.process, worker.stacks)}"
                    for rank, worker in hanging
                ]
        return failures

    def _tidy(self, answers: dict[int, Answer]) -> None:
        """After a failure, give up the group, and end the processes that are stuck in it."""
        if len(answers) == self._world and not any(answer.failed for answer in answers.values()):
            return
        for rank in range(self._world):
            is_lost = rank not in answers or (answers[rank].failed and not self._workers[rank].has_left())
            if is_lost:
                self._workers.pop(rank).end()
        self._world = 0


class TwoWorkers:
    """The first two of them."""

    def __init__(self, workers: GlooWorkers) -> None:
        self._workers = workers

    def run(self, job: Callable[..., Any], *args: Any, timeout_s: float = JOB_S) -> list[Any]:
        """What `job(*args)` returns on each; see `GlooWorkers.run`."""
        return self._workers.run(2, job, *args, timeout_s=timeout_s)


def _serve(rank: int, pipe: Connection, stacks: Path) -> None:
    become_worker(rank)
    import torch

    torch.set_num_threads(1)
    joined = None
    while (request := pickle.loads(pipe.recv_bytes())) is not None:
        meeting_point, world, payload = request
        write_when_asked(stacks)
        try:
            if meeting_point != joined:
                leave()
                join(meeting_point, rank, world)
                joined = meeting_point
            os.environ.update(WORLD_SIZE=str(world))  # the job before may have taken it away, as a Trainer does
            job, args = pickle.loads(payload)
            # Importing the job takes a fresh process seconds, which must not count against the job's own timeouts.
            torch.distributed.barrier()
            answer = pickle.dumps((False, pickle.dumps(job(*args))))
        except BaseException:  # a failed assertion of pytest is no Exception
            joined = None
            answer = pickle.dumps((True, traceback.format_exc()))
        pipe.send_bytes(answer)
        give_memory_back()
        if joined is None:
            leave()  # now, so that the others need not wait for this one until their time is over
            pipe.send_bytes(pickle.dumps((True, "left")))
    leave()


def join(meeting_point: Path, rank: int, world: int, timeout_s: float = COLLECTIVE_S) -> None:
    """Become a worker of a world of some size."""
    import torch.distributed as dist

    os.environ.update(WORLD_SIZE=str(world))
    dist.init_process_group(
        "gloo",
        init_method=meeting_point.as_uri(),
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=timeout_s),
    )


def leave() -> None:
    """End all groups, if there are any."""
    import torch.distributed as dist

    gc.collect()  # of what holds on to a group: its connections end with it
    if dist.is_initialized():
        dist.destroy_process_group()


def give_memory_back() -> None:
    """Give free memory back to the system, which the C library (here glibc) else keeps for this process."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
