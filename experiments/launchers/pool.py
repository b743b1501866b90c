"""Run jobs side by side in processes, of which each job may kill its own."""

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Self

from redwood.core.child_processes import interrupts_blocked, main_module_hidden
from redwood.core.fork_server import Copy, ForkServer, is_available
from redwood.experiments.launchers.jobs import Failure, Job, Outcome, run_job
from redwood.experiments.launchers.resources import Resources
from redwood.experiments.launchers.worker import serve

# What each run needs, of what takes long to import.
PRELOAD = (
    "redwood.experiments.launchers.jobs",
    "redwood.engine.launch",
    "redwood.methods.lightning",
    "redwood.engine.figures.plots",
)
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
POLL_S = 2.0  # between checks of which processes are alive
GRACE_S = 60.0  # for runs to save a checkpoint and to close their loggers when the comparison is stopped
_ORPHAN_ENDED = (
    "Its process has ended in an unknown way: the server process that it was a copy of had been killed before, "
    "as the system does when memory runs out; use fewer --jobs then."
)


class Pool:
    """Processes, as many as there is room for, each of which does one job at a time.

    If all jobs use the CPU, the processes are copies of a server that has imported the libraries. A copy of a process
    that has opened another device could not use that device. Each pool has its own server, which ends with its `with`
    block.

    If a process ends during a job, by any signal or exit, only this job fails; another process takes its place.
    `concurrent.futures` would give up all jobs then. After an unforeseen failure a process is replaced, too. If the
    server is killed, its copies go on; another server makes the next ones.
    """

    def __init__(self, resources: Resources) -> None:
        """Start nothing yet."""
        self._resources = resources
        # With several processes, libraries compute on one thread in each.
        self._variables = dict.fromkeys(THREADS, "1") if resources.total > 1 else {}
        self._server: ForkServer | None = None
        self._idle: list[_Process] = []
        self._busy: list[_Process] = []

    def __enter__(self) -> Self:
        if self._resources.on_cpu and is_available():
            self._server = ForkServer(PRELOAD, self._variables)
            self._server.ensure_running()  # imports while the first job is prepared
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self._stop()
        finally:
            if self._server is not None:
                self._server.stop()

    def run(self, jobs: Iterable[Job | None], started: Callable[[Job], None]) -> Iterator[tuple[Job, Outcome]]:
        """Run all of them, see `Launcher.run`; a job that needs more cores or GPUs than are free lets others pass."""
        source, waiting, exhausted = iter(jobs), list[Job](), False
        while waiting or self._busy or not exhausted:
            for job in list(waiting):
                if self._started(job, started):
                    waiting.remove(job)
            # Of jobs that are chosen late, at most one waits for a place.
            while not exhausted and self._resources.free and (isinstance(jobs, Sized) or not waiting):
                try:
                    following = next(source)
                except StopIteration:
                    exhausted = True
                    break
                if following is None:
                    break
                if not self._started(following, started):
                    waiting.append(following)
            if self._busy or not exhausted:  # there is something to wait for
                yield from self._ended()

    def _started(self, job: Job, started: Callable[[Job], None]) -> bool:
        """Start the job, if there is room for it."""
        taken = self._resources.take(job.width)
        if taken is None:
            return False
        self._start(job, taken)
        started(job)
        return True

    def _start(self, job: Job, taken: list[int | None]) -> None:
        alive = [each for each in self._idle if each.process.is_alive()]
        process = alive[-1] if alive else _Process(self._server, self._variables)
        self._idle = [each for each in self._idle if each is not process]
        self._busy.append(process)
        process.start(job, taken)

    def _ended(self) -> Iterator[tuple[Job, Outcome]]:
        """Wait until jobs end, for `POLL_S` at most."""
        # A dead process is found by its sentinel: processes that its job has left behind may hold the pipe open.
        ready = wait([source for each in self._busy for source in each.signs_of_end()], POLL_S)
        for process in [each for each in self._busy if each.pipe in ready or not each.process.is_alive()]:
            job, outcome = process.finish()
            self._busy.remove(process)
            self._resources.give_back(process.taken)
            if isinstance(outcome, Failure) and outcome.unforeseen:
                process.end()
            else:
                self._idle.append(process)
            yield job, outcome

    def _stop(self) -> None:
        """End all processes; those with a job get SIGTERM first, so that they save a checkpoint."""
        everyone = self._busy + self._idle
        try:
            for process in self._busy:
                process.signal(signal.SIGTERM)
            for process in everyone:
                process.pipe.close()
            deadline = time.monotonic() + GRACE_S
            for process in everyone:
                process.process.join(max(0.0, deadline - time.monotonic()))
        finally:
            for process in everyone:
                process.end()
            self._busy, self._idle = [], []


class _Process:
    """One of the processes, and its job."""

    def __init__(self, server: ForkServer | None, variables: Mapping[str, str]) -> None:
        self.pipe, other = multiprocessing.Pipe()
        # No daemon: these may not have children, as a run of several workers has.
        self.process = _started(server, other, os.environ | variables)
        assert self.process.pid is not None
        self._group = self.process.pid  # `serve` makes it the leader of a group
        other.close()
        self.job: Job | None = None
        self.taken: list[int | None] = []

    def start(self, job: Job, taken: list[int | None]) -> None:
        """Hand it a job."""
        self.job, self.taken = job, taken
        with contextlib.suppress(ConnectionError):  # it is dead; `_ended` finds that out
            self.pipe.send((replace(job, devices=_devices(taken)), run_job))

    def signs_of_end(self) -> list[Connection | int]:
        """Return the objects to wait for: one is ready when the job or the process has ended."""
        return [self.pipe] if self._is_orphan() else [self.pipe, self.process.sentinel]

    def _is_orphan(self) -> bool:
        return isinstance(self.process, Copy) and self.process.is_orphan

    def finish(self) -> tuple[Job, Outcome]:
        """The job that has ended, and its outcome."""
        job, self.job = self.job, None
        assert job is not None
        try:
            if self.pipe.poll():
                return job, self.pipe.recv()
        except (EOFError, OSError):
            pass
        self.process.join(POLL_S)  # it may be on its way out, with an exit status of its own
        self.signal(signal.SIGKILL)
        self.process.join()
        reason = f"Its process was ended by {_describe_exit(self.process.exitcode)}"
        failure = Failure(_ORPHAN_ENDED if self._is_orphan() else reason, unforeseen=True)
        job.write_failure(failure)
        return job, failure

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and to all that it has started."""
        try:
            os.killpg(self._group, number)
        except PermissionError:  # macOS may not signal a group of zombies
            pass
        except ProcessLookupError:
            if self.process.is_alive():  # it does not lead a group yet
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._group, number)

    def end(self) -> None:
        """End it, with all that it has started."""
        self.signal(signal.SIGKILL)
        self.process.join()
        self.pipe.close()


def _started(server: ForkServer | None, pipe: Connection, variables: Mapping[str, str]) -> BaseProcess:
    """A process that serves; interrupts on the terminal do not reach it before it leads a group of its own."""
    if server is not None:
        with main_module_hidden():
            return server.start_process(serve, (pipe, variables))
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(pipe, variables))
    with interrupts_blocked(), main_module_hidden():
        process.start()
    return process


def _devices(taken: list[int | None]) -> str | None:
    numbers = [number for number in taken if number is not None]
    return "".join(f"{number}," for number in numbers) if numbers and len(set(numbers)) == len(numbers) else None


def _describe_exit(status: int | None) -> str:
    if status is None or status >= 0:
        return f"exit status {status}."
    if status == -signal.SIGKILL:
        return "signal SIGKILL, as the system does when memory runs out; use fewer --jobs then."
    try:
        return f"signal {signal.Signals(-status).name}."
    except ValueError:
        return f"signal {-status}."
