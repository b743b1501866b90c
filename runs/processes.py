"""Worker processes on this machine: started, listened to, and ended together.

They answer through pipes. So nothing lies on the disk or in shared memory that a killed process could leave there.
This module imports nothing heavy: a new process watches its parent before it imports what it is to run.
"""

import ctypes
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, NamedTuple, Self

from redwood.core.errors import RedwoodError

GRACE_S = 10.0  # for the others to notice by themselves that one has failed, and to close their logs
STOP_S = 60.0  # for a last checkpoint after a signal
LOOK_S = 1.0
_PR_SET_PDEATHSIG = 1


class Answer(NamedTuple):
    """How the job of a worker ended.

    Attributes:
        kind: `result`, `stopped` by a signal, `refused` in a sentence of ours, or `raised` something unforeseen.
        content: What the job returned, the number of the signal, the sentence or the traceback.
    """

    kind: str
    content: Any


def end_with_parent(group: bool = False) -> None:
    """Have this process end at once when its parent does, whichever way.

    Args:
        group: Whether the group that this process leads ends, too.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        if group:
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    if sys.platform == "linux" and not group:  # needs no thread, which may have to wait for its turn
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Start processes inside: Ctrl-C does not reach them until they have said what to do then."""
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        yield
        return
    resource_tracker.ensure_running()  # its start would lift the mask below
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class Workers:
    """Spawned processes that each run `job(rank, *args)`; none of them outlives the `with` block.

    Example:
        with Workers(2, job, argument) as workers:
            result = workers.result()
    """

    def __init__(self, count: int, job: Callable[..., Any], *args: Any) -> None:
        """Say what to run; `job` is found by importing its module."""
        self._count, self._job, self._args = count, job, args
        self._processes: list[SpawnProcess] = []
        self._pipes: dict[int, Connection] = {}
        self._answers: dict[int, Answer] = {}

    def __enter__(self) -> Self:
        """Start them."""
        context = multiprocessing.get_context("spawn")
        try:
            for rank in range(self._count):
                here, there = context.Pipe(duplex=False)
                self._pipes[rank] = here
                # No daemon: these may not have children, as the environments of a worker may be.
                process = context.Process(target=_serve, args=(rank, there, self._job, self._args))
                with deaf_to_interrupts():
                    process.start()
                self._processes.append(process)
                there.close()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        """End those that still run."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.join()
        for pipe in self._pipes.values():
            pipe.close()

    def result(self) -> Any:
        """What the first worker's job returns, once all workers have ended.

        Raises:
            Stopped: If a signal has stopped a worker, and so all of them.
            RedwoodError: If a worker says in a sentence what is wrong, or is killed.
            ProcessRaisedException: If a job fails unforeseen; it holds the traceback.
        """
        try:
            failed = self._wait_for_end()
        except BaseException:  # this process is told to end
            self._stop()
            raise
        if failed is None:
            return pickle.loads(self._answers[0].content)
        raise self._error_of(self._first_cause(failed))

    def _first_cause(self, failed: int) -> int:
        """The worker whose error to show: those that lost another one only follow from the first error."""
        for kind in ("stopped", "raised"):
            for rank, answer in self._answers.items():
                if answer.kind == kind:
                    return rank
        return failed

    def _wait_for_end(self) -> int | None:
        """The first worker that failed, or None; the others have had time to end by themselves."""
        failed, deadline = None, float("inf")
        while self._running() and time.monotonic() < deadline:
            self._listen(LOOK_S)
            if failed is None:
                failed = next((rank for rank in range(self._count) if self._has_failed(rank)), None)
                if failed is not None and failed in self._answers and self._answers[failed].kind == "stopped":
                    self._signal()
                    deadline = time.monotonic() + STOP_S
                elif failed is not None or len(self._answers) == self._count:
                    deadline = min(deadline, time.monotonic() + GRACE_S)
        return failed

    def _running(self) -> bool:
        return bool(self._pipes) or any(process.is_alive() for process in self._processes)

    def _has_failed(self, rank: int) -> bool:
        if rank in self._answers:
            return self._answers[rank].kind != "result"
        return rank not in self._pipes

    def _listen(self, seconds: float) -> None:
        """Read what they answer, until one does or ends, or some time is over."""
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
        """Tell them to end, as this process is told to, and give them time to save themselves."""
        self._signal()
        deadline = time.monotonic() + STOP_S
        while self._running() and time.monotonic() < deadline:
            self._listen(LOOK_S)

    def _signal(self) -> None:
        for process in self._processes:
            if process.is_alive():
                process.terminate()

    def _error_of(self, rank: int) -> BaseException:
        from torch.multiprocessing.spawn import ProcessRaisedException

        from redwood.runs.signals import Stopped

        match self._answers.get(rank):
            case Answer("stopped", number):
                return Stopped(number)
            case Answer("refused", sentence):
                return RedwoodError(sentence)
            case Answer("raised", text):
                text = f"\n\n-- Process {rank} terminated with the following error:\n{text}"
                return ProcessRaisedException(text, rank, self._processes[rank].pid or 0)
        self._processes[rank].join(LOOK_S)  # its pipe may end a little before it does
        return RedwoodError(
            f"Worker {rank} was ended by {_end_of(self._processes[rank])}, and the others with it; "
            "go on with --resume and its run directory, or start it anew."
        )


def _end_of(process: SpawnProcess) -> str:
    status = process.exitcode
    if status is None or status >= 0:
        return f"exit status {status}"
    return f"signal {signal.Signals(-status).name}"


def _serve(rank: int, pipe: Connection, job: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """What a worker does: the job, and the answer."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, too, which tells the workers
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    from redwood.runs.signals import Stopped, stop_signals

    try:
        with stop_signals():
            answer = Answer("result", pickle.dumps(job(rank, *args)))
    except Stopped as stop:
        answer = Answer("stopped", stop.number)
    except Exception as error:
        ours = type(error).__module__.startswith("redwood.")
        answer = Answer("refused", str(error)) if ours else Answer("raised", traceback.format_exc())
    pipe.send_bytes(pickle.dumps(answer))
    if answer.kind != "result":
        sys.exit(1)
