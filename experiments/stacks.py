"""Jobs that differ in the seed alone, as one job: the seeds are trained side by side in one process.

Each run has its folder, with all that a single run writes. Which jobs are joined does not depend on the machine. Jobs
that turn out not to fit together are run one by one, and go on from what they have saved.
"""

import gc
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from redwood.core.errors import RedwoodError
from redwood.engine.cost import reset_peak_memory
from redwood.engine.signals import Stopped
from redwood.experiments.jobs import Failure, Job, Outcome, options_of, outcome_of_error, run_job
from redwood.experiments.launchers.worker import print_to
from redwood.settings.results import Results


@dataclass(frozen=True)
class Stack:
    """Several jobs that one process runs side by side; a launcher takes it for one job.

    Attributes:
        jobs: The jobs, which differ in seed, order of the classes and folder.
        width: See `Job`.
        devices: See `Job`.
    """

    jobs: tuple[Job, ...]
    width: int = 1
    devices: str | None = None

    @property
    def log(self) -> Path:
        """The file for the output of its process until the runs begin; then each run has its own."""
        return self.jobs[0].log

    def write_failure(self, failure: Failure) -> None:
        """Its process has ended: nothing is written, as each job is tried by itself then."""


Task: TypeAlias = Job | Stack


@dataclass(frozen=True)
class Unstacked:
    """Why jobs are run one by one, as a clause."""

    reason: str


def jobs_of(task: Task) -> tuple[Job, ...]:
    """The job, or those of a stack."""
    return (task,) if isinstance(task, Job) else task.jobs


def run_task(task: Task) -> Outcome | list[Outcome] | Unstacked:
    """Run a job, or those of a stack; see `run_job` for what it raises.

    Returns:
        The outcome of a job; those of a stack's jobs, in their order; or why they have to be run one by one.
    """
    return run_job(task) if isinstance(task, Job) else _run_stack(task)


def run_apart(task: Task) -> Outcome | list[Outcome] | Unstacked:
    """Do what `run_task` does in a process that prints to the log of the run at work."""
    if isinstance(task, Job):
        return run_job(task)
    return _run_stack(task, lambda job: print_to(job.log))


def _run_stack(stack: Stack, print_for: Callable[[Job], None] | None = None) -> list[Outcome] | Unstacked:
    """Run the jobs; `print_for` has what is printed go to the log of a job, None: the user sees all output."""
    # Torch and Lightning are imported here, where runs take place.
    from redwood.engine.stack import Member, run_stack
    from redwood.methods.training.stacked import train_stacked

    turn = print_for or (lambda job: None)
    reset_peak_memory()
    outcomes: dict[Job, Outcome] = {}
    members: dict[Job, Member] = {}
    for job in stack.jobs:
        try:
            options = options_of(replace(job, devices=stack.devices))
            options.setting.check_applicable(options.method)
            options.run.check_devices(1)
            members[job] = Member(options.setting, options.method, options.run)
        except (Exception, SystemExit) as error:
            outcomes[job] = outcome_of_error(job, error)
    jobs = list(members)
    try:
        ends = run_stack(list(members.values()), train_stacked, lambda number: turn(jobs[number]))
    except Stopped:
        raise
    except RedwoodError as error:
        return Unstacked(str(error))
    except Exception as error:  # of what all seeds share, so that no seed is known to have failed
        turn(stack.jobs[0])
        traceback.print_exc()
        where = "" if print_for is None else f", see {stack.log}"
        return Unstacked(f"{type(error).__name__} in the training side by side{where}")
    finally:
        gc.collect()
    for job, end in zip(jobs, ends, strict=True):
        turn(job)
        outcomes[job] = end if isinstance(end, Results) else outcome_of_error(job, end)
    return [outcomes[job] for job in stack.jobs]
