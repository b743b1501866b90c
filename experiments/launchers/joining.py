"""Jobs that several processes share, on any machines that see their folders."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from redwood.engine.lease import LOCK_FILE, FolderLease, is_held
from redwood.experiments.jobs import Elsewhere, Job, Outcome


class SharedJobs:
    """Hands out the jobs that no other process works on, until all of them have ended, wherever that was.

    A launcher takes the jobs from here, and the caller tells each outcome by `settle`. Nobody assigns the jobs: each
    process takes what is free, and the lease of a run's folder decides if two take the same one.

    Attributes:
        outcomes: How each job has ended, of those that have.
        ended: Called with each job that ends in another process from now on, and its outcome.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        """Take all jobs; those that have ended before are not handed out."""
        self.outcomes = {job: outcome for job in jobs if (outcome := job.outcome()) is not None}
        self.ended: Callable[[Job, Outcome], None] = lambda job, outcome: None
        self._waiting = [job for job in jobs if job not in self.outcomes]
        self._handed_out: set[Job] = set()
        self._leases: dict[Path, FolderLease] = {}

    def __len__(self) -> int:
        """Jobs that may still be handed out."""
        return len(self._waiting)

    def __iter__(self) -> Iterator[Job | None]:
        """The jobs that are free; None if others are, for the moment, in the hands of other processes."""
        while True:
            for job in list(self._waiting):
                outcome = job.outcome()
                if outcome is not None:
                    self._waiting.remove(job)
                    self.outcomes[job] = outcome
                    self.ended(job, outcome)
                elif self._is_free(job.folder):
                    self._waiting.remove(job)
                    self._handed_out.add(job)
                    yield job
            if not self._waiting and not self._handed_out:
                return
            yield None

    def settle(self, job: Job, outcome: Outcome) -> None:
        """Note the outcome of a job that was handed out; one that is elsewhere is looked at again."""
        self._handed_out.remove(job)
        if isinstance(outcome, Elsewhere):
            self._waiting.append(job)
        else:
            self.outcomes[job] = outcome

    def _is_free(self, folder: Path) -> bool:
        """Whether no process has the folder; the lease of one that does not answer any more is removed."""
        if not (folder / LOCK_FILE).exists():
            self._leases.pop(folder, None)
            return True
        lease = self._leases.setdefault(folder, FolderLease())
        if not lease.try_acquire(folder):
            return False
        lease.release()
        return True


def forget_failures(jobs: Sequence[Job]) -> None:
    """Have the jobs that have failed tried again, unless other processes are at work on the others by now."""
    if any(is_held(job.folder) for job in jobs if not job.complete):
        return
    for job in jobs:
        job.forget_failure()
