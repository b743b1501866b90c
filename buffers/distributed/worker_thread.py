"""One thread that runs jobs in order."""

import atexit
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from redwood.core.errors import WorkerLostError

Result = TypeVar("Result")

# Seconds that the end of the process waits for a job: it may wait for workers that are about to end as well.
GRACE_S = 10.0


class Job(Generic[Result]):
    """A function that a worker thread runs, and its result."""

    def __init__(self, work: Callable[[], Result]) -> None:
        self._work = work
        self._over = threading.Event()
        self._result: Result
        self._error: BaseException | None = None

    def run(self) -> None:
        """Run the function in the calling thread."""
        try:
            self._result = self._work()
        except BaseException as error:  # raised again by `result`
            self._error = error
        finally:
            del self._work
            self._over.set()

    @property
    def is_over(self) -> bool:
        """True if there is a result or an error."""
        return self._over.is_set()

    def result(self, timeout: timedelta | None = None) -> Result:
        """The result, once it is there.

        Raises:
            WorkerLostError: If it takes longer than the timeout.
        """
        if not self._over.wait(timeout.total_seconds() if timeout else None):
            raise WorkerLostError(
                f"The exchange of samples has not come to an end for {timeout}; look for a worker that hangs, "
                "then start all of them anew from the last checkpoint; if one was only slow, raise timeout."
            )
        if self._error is not None:
            raise self._error
        return self._result


class WorkerThread:
    """A thread that runs jobs; without a thread, each job runs at once.

    The thread ends with the process, even if it waits for another worker that will never answer. The end of the process
    waits `GRACE_S` seconds for it: a collective that is interrupted by the end of the interpreter aborts the process.
    """

    def __init__(self, *, threaded: bool) -> None:
        self._jobs: SimpleQueue[tuple[Job[Any], ...] | None] | None = SimpleQueue() if threaded else None
        self._held: tuple[Job[Any], ...] | None = None
        if threaded:
            self._thread = threading.Thread(target=self._serve, name="rehearsal", daemon=True)
            self._thread.start()
            atexit.register(self._end)

    def submit(self, work: Callable[[], Result]) -> Job[Result]:
        """Run a function once all earlier jobs are over."""
        job = Job(work)
        self.run(job)
        return job

    def run(self, *jobs: Job[Any]) -> None:
        """Run jobs in this order, once all earlier ones are over."""
        if self._jobs is None:
            for job in jobs:
                job.run()
        elif self._held is not None:
            self._held += jobs
        else:
            self._jobs.put(jobs)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Begin the jobs of the body at its end: until then the thread does not compete with the caller for the GIL."""
        self._held = ()
        try:
            yield
        finally:
            held, self._held = self._held, None
            if held:
                self.run(*held)

    def close(self) -> None:
        """End the thread once its jobs are over."""
        if self._jobs is not None:
            self._jobs.put(None)

    def _serve(self) -> None:
        assert self._jobs is not None
        while (jobs := self._jobs.get()) is not None:
            for job in jobs:
                job.run()
            del jobs, job  # and so their results
        atexit.unregister(self._end)

    def _end(self) -> None:
        self.close()
        self._thread.join(GRACE_S)
