"""Run jobs one after the other in this process."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self

from redwood.experiments.jobs import Failure
from redwood.experiments.launchers.launcher import T
from redwood.experiments.stacks import jobs_of, run_task

POLL_S = 1.0  # before a source that had no job is asked again


class ThisProcess:
    """Runs jobs one after the other in this process, so that the user sees their output."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def run(self, jobs: Iterable[T | None], started: Callable[[T], None]) -> Iterator[tuple[T, Any]]:
        """Run all of them, see `Launcher.run`."""
        for job in jobs:
            if job is None:
                time.sleep(POLL_S)
                continue
            started(job)
            outcome = run_task(job)
            for one, own in zip(jobs_of(job), outcome if isinstance(outcome, list) else [outcome], strict=False):
                if isinstance(own, Failure) and own.traceback:
                    one.folder.mkdir(parents=True, exist_ok=True)
                    with one.log.open("a") as log:
                        log.write(own.traceback)
            yield job, outcome
