"""The base of all launchers: they run jobs, as many at once as there is room for."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, Self

from redwood.experiments.launchers.jobs import Job, Outcome


class Launcher(Protocol):
    """Runs jobs inside its `with` block; at the end of the block, what still runs is ended.

    Examples:
        with Pool(resources) as launcher:
            for job, outcome in launcher.run(jobs, started=print):
                ...
    """

    def __enter__(self) -> Self:
        """Start nothing yet."""

    def __exit__(self, *error: object) -> None:
        """End the jobs that still run; they save a checkpoint first."""

    def run(self, jobs: Iterable[Job | None], started: Callable[[Job], None]) -> Iterator[tuple[Job, Outcome]]:
        """Run all jobs.

        The next job is taken from `jobs` only when there is room for it. So a generator can decide late which job
        comes next: by then, it has been told all outcomes so far. If `jobs` has a length, all of them are known
        already, and may be taken at once.

        Args:
            jobs: What to run. None in place of a job says that there is none at the moment; the launcher asks again
                after a while.
            started: Called with each job as it starts.

        Yields:
            Each job as it ends, and its outcome.
        """


def next_jobs(source: Iterator[Job | None], room: float) -> tuple[list[Job], bool]:
    """Up to `room` jobs that a source has at the moment, and whether it is exhausted."""
    jobs: list[Job] = []
    while len(jobs) < room:
        try:
            job = next(source)
        except StopIteration:
            return jobs, True
        if job is None:
            break
        jobs.append(job)
    return jobs, False
