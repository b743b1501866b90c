"""Which jobs of a comparison are joined to stacks, and how these go through a launcher.

Which are joined follows from the options alone, not from the machine.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from redwood.core.errors import RedwoodError
from redwood.engine.names import short_name
from redwood.experiments.jobs import Job, Outcome
from redwood.experiments.launchers.joining import SharedJobs
from redwood.experiments.launchers.launcher import Launcher
from redwood.experiments.options import Options
from redwood.experiments.stacks import Stack, Task, jobs_of
from redwood.methods.training.stackable import why_not_stacked

MOST = 32  # runs in one stack: their data and buffers lie in the memory of one process


class StackedJobs:
    """Hands out jobs, of which it joins those of one group to stacks, and takes the outcomes of stacks apart again."""

    def __init__(self, jobs: SharedJobs, groups: Mapping[Job, int], note: Callable[[str], None]) -> None:
        """Join the jobs.

        Args:
            jobs: Where the jobs come from; those of one group follow each other.
            groups: The group of each job that may be joined with others.
            note: Is told, in one line, why a group is run one by one after all.
        """
        self._jobs, self._groups, self._note = jobs, groups, note
        self._one_by_one: list[Job] = []
        self._following: Job | None = None

    def __len__(self) -> int:
        """Jobs that may still be handed out."""
        return len(self._jobs) + len(self._one_by_one) + (self._following is not None)

    def __iter__(self) -> Iterator[Task | None]:
        """The jobs and stacks; None if there is none at the moment."""
        source = iter(self._jobs)
        while True:
            if self._one_by_one:
                yield self._one_by_one.pop(0)
                continue
            job, self._following = self._following, None
            try:
                job = job or next(source)
                yield job if job is None else self._joined(job, source)
            except StopIteration:
                return

    def _joined(self, job: Job, source: Iterator[Job | None]) -> Task:
        """The job, with those of its group that follow."""
        members = [job]
        while job in self._groups and len(members) < MOST:
            following = next(source, None)
            if following is None:
                break
            if self._groups.get(following) != self._groups[job]:
                self._following = following
                break
            members.append(following)
        return job if len(members) == 1 else Stack(tuple(members), job.width)

    def run(self, launcher: Launcher, started: Callable[[Job], None]) -> Iterator[tuple[Job, Outcome]]:
        """Have a launcher run them; see `Launcher.run`."""

        def each_started(task: Task) -> None:
            for job in jobs_of(task):
                started(job)

        for task, outcome in launcher.run(self, each_started):
            if isinstance(task, Job):
                yield task, outcome
            elif isinstance(outcome, list):
                yield from zip(task.jobs, outcome, strict=True)
            else:  # an `Unstacked`, or the `Failure` of a process that was ended
                reason = outcome.reason.rstrip(".")
                self._note(f"{_name(task.jobs[0])}: each seed is run by itself: {reason}")
                self._one_by_one += task.jobs


def stacked_groups(
    groups: Sequence[Sequence[Job]], parsed: Sequence[Options | RedwoodError]
) -> tuple[dict[Job, int], list[str]]:
    """Which jobs may be trained side by side.

    Args:
        groups: The jobs of each pair that are left to do.
        parsed: The options of each pair, or why it cannot have them.

    Returns:
        The number of its group for each of these jobs; and lines for the user about all groups of several jobs.
    """
    joined: dict[Job, int] = {}
    texts: dict[str, list[str]] = {}
    for number, (jobs, options) in enumerate(zip(groups, parsed, strict=True)):
        if isinstance(options, RedwoodError) or len(jobs) < 2:
            continue
        reason = why_not_stacked(options.setting, options.method, options.run)
        if reason is None:
            joined |= dict.fromkeys(jobs, number)
        # Only the first phase shows the networks: what is told now has to stay true if they do not fit.
        together = "the seeds are trained side by side, where networks and phases allow it"
        text = together if reason is None else f"each seed is run by itself: {reason}"
        texts.setdefault(text, []).append(_name(jobs[0]))
    return joined, [f"{', '.join(names)}: {text}" for text, names in texts.items()]


def _name(job: Job) -> str:
    return f"{short_name(job.pair.setting)} / {short_name(job.pair.method)}"
