"""Worker processes on this machine: started, listened to, and ended together.

They answer through pipes, so that nothing of theirs lies on the disk or in shared memory after one is killed.
This module imports nothing heavy: a new process watches its parent before it imports what it is to run.
"""

import multiprocessing
import pickle
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from typing import Generic, Self, TypeAlias, TypeVar

from redwood.core.calls import shorten_warnings
from redwood.core.child_processes import end_with_parent, interrupts_blocked
from redwood.core.errors import ElsewhereError, RedwoodError
from redwood.core.fork_server import accept_signals
from redwood.core.late_torchmetrics import defer_torchmetrics
from redwood.engine.signals import Stopped, stop_signals

GRACE_S = 10.0  # for the other workers to notice that one has failed, and to close their logs
STOP_S = 60.0  # for a last checkpoint after a signal
POLL_S = 1.0

T = TypeVar("T")


@dataclass(frozen=True)
class Finished:
    """The job of a worker returned; `content` is the pickled value."""

    content: bytes


@dataclass(frozen=True)
class StoppedBySignal:
    """A signal stopped the job."""

    number: int


@dataclass(frozen=True)
class Refused:
    """The job raised an error of redwood's, whose message is a sentence for the user."""

    sentence: str
    elsewhere: bool  # it was an `ElsewhereError`


@dataclass(frozen=True)
class Crashed:
    """The job raised an unforeseen error."""

    traceback: str


Answer: TypeAlias = Finished | StoppedBySignal | Refused | Crashed


class WorkerCrashedError(RuntimeError):
    """The job of a worker raised an unforeseen error; the message ends in that worker's traceback."""


class Workers(Generic[T]):
    """Spawned processes that each run `job(rank, *args)`; none of them outlives the `with` block.

    Examples:
        with Workers(2, job, argument) as workers:
            result = workers.result()
    """

    def __init__(
        self, count: int, job: Callable[..., T], *args: object, own: Sequence[object] = (), preload: Sequence[str] = ()
    ) -> None:
        """Name the job, a function at the top of a module, and its arguments.

        Args:
            count: Number of processes.
            job: What each of them runs.
            *args: Arguments that all of them get, after the rank.
            own: If given, a last argument for each process, which only this process gets.
            preload: Modules that a server process imports, once in the life of this process. The workers are then
                copies of the server, where the system can copy processes. They start within a second.
        """
        self._count = count
        # Pickled here, and loaded when the process watches its parent: loading imports the job's module.
        each = [(*args, one) for one in own] if own else [args] * count
        self._jobs = [pickle.dumps((job, arguments)) for arguments in each]
        self._preload = list(preload)
        self._processes: list[BaseProcess] = []
        self._pipes: dict[int, Connection] = {}
        self._answers: dict[int, Answer] = {}

    def __enter__(self) -> Self:
        context = self._context()
        try:
            for rank in range(self._count):
                here, there = context.Pipe(duplex=False)
                self._pipes[rank] = here
                # No daemon: daemons may not have children, and the environments of a worker may be processes.
                process = context.Process(target=_serve, args=(rank, there, self._jobs[rank]))
                with interrupts_blocked():
                    process.start()
                self._processes.append(process)
                there.close()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _context(self) -> SpawnContext | ForkServerContext:
        if not self._preload or "forkserver" not in multiprocessing.get_all_start_methods():
            return multiprocessing.get_context("spawn")
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(self._preload)
        return context

    def __exit__(self, *error: object) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.join()
        for pipe in self._pipes.values():
            pipe.close()

    def result(self) -> T:
        """Wait for all workers, and return the result of the first worker's job; raises the errors of `results`."""
        self._finish()
        return self._content(0)

    def results(self) -> list[T]:
        """Wait for all workers, and return the results of their jobs, in the order of the ranks.

        Raises:
            Stopped: If a signal has stopped a worker, and so all of them.
            RedwoodError: If a worker refuses with an error of redwood's, or is killed.
            WorkerCrashedError: If a job raises an unforeseen error.
        """
        self._finish()
        return [self._content(rank) for rank in range(self._count)]

    def _finish(self) -> None:
        try:
            failed = self._wait_for_end()
        except BaseException:  # this process is asked to end
            self._stop()
            raise
        if failed is not None:
            raise self._error_of(self._first_cause(failed))

    def _content(self, rank: int) -> T:
        answer = self._answers[rank]
        assert isinstance(answer, Finished)
        content: T = pickle.loads(answer.content)
        return content

    def _first_cause(self, failed: int) -> int:
        """The worker whose error to show: workers that lost another one only fail because of the first error."""
        for kind in (StoppedBySignal, Crashed):
            for rank, answer in self._answers.items():
                if isinstance(answer, kind):
                    return rank
        return failed

    def _wait_for_end(self) -> int | None:
        """The first worker that failed, or None; the others have had time to end by themselves."""
        failed, deadline = None, float("inf")
        while self._running() and time.monotonic() < deadline:
            self._listen(POLL_S)
            if failed is None:
                failed = next((rank for rank in range(self._count) if self._has_failed(rank)), None)
                if failed is not None and isinstance(self._answers.get(failed), StoppedBySignal):
                    self._signal()
                    deadline = time.monotonic() + STOP_S
                elif failed is not None or len(self._answers) == self._count:
                    deadline = min(deadline, time.monotonic() + GRACE_S)
        return failed

    def _running(self) -> bool:
        return bool(self._pipes) or any(process.is_alive() for process in self._processes)

    def _has_failed(self, rank: int) -> bool:
        if rank in self._answers:
            return not isinstance(self._answers[rank], Finished)
        return rank not in self._pipes

    def _listen(self, seconds: float) -> None:
        """Read answers until a worker answers or ends, or the time is over."""
        alive = [process.sentinel for process in self._processes if process.is_alive()]
        wait([*self._pipes.values(), *alive], seconds)
        for rank, pipe in list(self._pipes.items()):
            ended = not self._processes[rank].is_alive()  # asked first: it may answer and end in between
            if pipe.poll():
                with suppress(EOFError):
                    self._answers[rank] = pickle.loads(pipe.recv_bytes())
            elif not ended:
                continue
            self._pipes.pop(rank).close()

    def _stop(self) -> None:
        """Tell the workers to end, and give them time to save themselves."""
        self._signal()
        deadline = time.monotonic() + STOP_S
        while self._running() and time.monotonic() < deadline:
            self._listen(POLL_S)

    def _signal(self) -> None:
        for process in self._processes:
            if process.is_alive():
                process.terminate()

    def _error_of(self, rank: int) -> BaseException:
        match self._answers.get(rank):
            case StoppedBySignal(number):
                return Stopped(number)
            case Refused(sentence, elsewhere):
                return (ElsewhereError if elsewhere else RedwoodError)(sentence)
            case Crashed(text):
                return WorkerCrashedError(f"\n\n-- Process {rank} terminated with the following error:\n{text}")
        self._processes[rank].join(POLL_S)  # its pipe may end a little before it does
        return RedwoodError(
            f"Worker {rank} was ended by {_end_of(self._processes[rank])}, and the others with it; "
            "go on with resume and its run directory, or start it anew."
        )


def _end_of(process: BaseProcess) -> str:
    status = process.exitcode
    if status is None or status >= 0:
        return f"exit status {status}"
    return f"signal {signal.Signals(-status).name}"


def _serve(rank: int, pipe: Connection, job: bytes) -> None:
    """The main function of a worker: run the job, and answer."""
    end_with_parent()
    defer_torchmetrics()
    shorten_warnings()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, too, which tells the workers
    accept_signals()
    answer: Answer
    try:
        with stop_signals():
            function, args = pickle.loads(job)
            answer = Finished(pickle.dumps(function(rank, *args)))
    except Stopped as stop:
        answer = StoppedBySignal(stop.number)
    except (Exception, SystemExit) as error:
        ours = type(error).__module__.startswith("redwood.")
        answer = Refused(str(error), isinstance(error, ElsewhereError)) if ours else Crashed(traceback.format_exc())
    pipe.send_bytes(pickle.dumps(answer))
    if not isinstance(answer, Finished):
        sys.exit(1)
