"""Run jobs one after the other in this process."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Self

from redwood.experiments.launchers.jobs import Failure, Job, Outcome, run_job

POLL_S = 1.0  # before a source that had no job is asked again


class ThisProcess:
    """Runs jobs one after the other in this process, so that the user sees their output."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def run(self, jobs: Iterable[Job | None], started: Callable[[Job], None]) -> Iterator[tuple[Job, Outcome]]:
        """Run all of them, see `Launcher.run`."""
        for job in jobs:
            if job is None:
                time.sleep(POLL_S)
                continue
            started(job)
            outcome = run_job(job)
            if isinstance(outcome, Failure) and outcome.traceback:
                job.folder.mkdir(parents=True, exist_ok=True)
                with job.log.open("a") as log:
                    log.write(outcome.traceback)
            yield job, outcome
