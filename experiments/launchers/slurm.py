"""Run each job as a job of SLURM, through submitit: arrays of jobs, which save themselves when they are preempted.

A job of SLURM runs one run in its folder. So the folder tells how it has ended, and SLURM is only asked for jobs that
end without an outcome.
"""

import secrets
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Self

from redwood.core.errors import RedwoodError
from redwood.engine.folder_lock import LOCK_FILE
from redwood.experiments.command_line.arguments import UsageError
from redwood.experiments.launchers.jobs import Failure, Job, Outcome
from redwood.experiments.launchers.launcher import next_jobs
from redwood.experiments.launchers.slurm_task import run_task

if TYPE_CHECKING:
    import submitit

# What `--slurm` may set: options of sbatch that choose resources. All others are set here, or make no sense for arrays.
RESOURCES = (
    *("account", "begin", "comment", "constraint", "cpus-per-gpu", "cpus-per-task", "dependency", "exclude"),
    *("gpus", "gpus-per-node", "gpus-per-task", "gres", "licenses", "mail-type", "mail-user", "mem", "mem-per-cpu"),
    *("mem-per-gpu", "nice", "nodelist", "partition", "qos", "reservation", "time", "tmp", "wckey"),
)
LARGEST_ARRAY = 1000  # SLURM's default for MaxArraySize is 1001
CHOSEN_LATE = 8  # jobs at once by default, if each is chosen by the outcomes of others
BEFORE_THE_LIMIT_S = 120  # SIGUSR1 comes so long before the time limit
# Python by a shell that ignores SIGUSR1, which `run_task` listens to once the libraries are imported.
DEAF = f"""sh -c 'trap "" USR1; exec "$0" "$@"' {shlex.quote(sys.executable)}"""
POLL_S = 1.0
QUEUE_POLL_S = 15.0  # between questions to the controller
GONE_S = 60.0  # out of the queue, without an outcome: network file systems may show new files late


def parse_resources(given: Sequence[str]) -> dict[str, str]:
    """The resources of `--slurm key=value ...`, by the names of sbatch's options.

    Raises:
        UsageError: If one is unknown, without a value, or given twice.
    """
    resources: dict[str, str] = {}
    for entry in given:
        key, equals, value = entry.partition("=")
        name = key.replace("_", "-")
        if name not in RESOURCES:
            raise UsageError(f"--slurm {entry}: {key!r} is unknown; choose from {', '.join(RESOURCES)}.")
        if not equals or not value:
            raise UsageError(f"--slurm {entry} has no value; write it as {key}=VALUE.")
        if name in resources:
            raise UsageError(f"--slurm {key} is given twice, as {resources[name]} and as {value}; give it once.")
        resources[name] = value
    return resources


class Slurm:
    """Jobs of a cluster. They go on if this process is killed.

    `resume` submits the runs that are left once more: such a job waits while another one is at work on its run.
    """

    def __init__(self, folder: Path, resources: Mapping[str, str], at_once: int | None = None) -> None:
        """Submit nothing yet.

        Args:
            folder: Where the files of submitit go, which all machines have to see.
            resources: Options of sbatch for each job, see `parse_resources`.
            at_once: Jobs that may run at once; None leaves it to SLURM.

        Raises:
            RedwoodError: If submitit or SLURM is missing.
        """
        if find_spec("submitit") is None:
            raise RedwoodError("--launcher slurm needs the package submitit; pip install 'redwood[cluster]'.")
        for program in ("sbatch", "srun", "squeue", "scancel"):
            if shutil.which(program) is None:
                raise RedwoodError(
                    f"--launcher slurm: there is no program {program} here; start it on a machine of the cluster."
                )
        self._folder, self._resources, self._at_once = folder, dict(resources), at_once
        self._name = f"redwood-{secrets.token_hex(4)}"
        self._submitted: dict[Job, submitit.Job[Outcome | None]] = {}  # with the record of each
        self._running: set[Job] = set()
        self._gone: dict[Job, float] = {}
        self._asked = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._submitted:
            subprocess.run(["scancel", "--name", self._name], check=False)

    def run(self, jobs: Iterable[Job | None], started: Callable[[Job], None]) -> Iterator[tuple[Job, Outcome]]:
        """Run all of them, see `Launcher.run`."""
        source, exhausted = iter(jobs), False
        while self._submitted or not exhausted:
            if not exhausted:
                batch, exhausted = next_jobs(source, self._room(known=isinstance(jobs, Sized)))
                self.submit(batch)
            ended = list(self._ended(started))
            yield from ended
            if not ended:
                time.sleep(POLL_S)

    def _room(self, known: bool) -> int:
        """Return the number of jobs that may be submitted now.

        Jobs that are known from the start are submitted as arrays; SLURM applies the limit within each array.
        """
        if known:
            return LARGEST_ARRAY if not self._submitted or self._at_once is None else 0
        return (self._at_once or CHOSEN_LATE) - len(self._submitted)

    def submit(self, jobs: Sequence[Job]) -> None:
        """Submit them as an array for each number of cores that they need.

        Raises:
            RedwoodError: If SLURM refuses.
        """
        import submitit

        for width in sorted({job.width for job in jobs}):
            group = [job for job in jobs if job.width == width]
            executor = submitit.SlurmExecutor(self._folder, python=DEAF)
            options = {"cpus-per-task": width, "requeue": True, "signal": f"USR1@{BEFORE_THE_LIMIT_S}"}
            executor.update_parameters(
                job_name=self._name,
                time=None,  # submitit's default is 5 minutes; the partition has a default of its own
                wckey=None,
                array_parallelism=self._at_once or len(group),
                additional_parameters=options | self._resources,
            )
            try:
                self._submitted |= zip(group, executor.map_array(run_task, group), strict=True)
            except (submitit.core.utils.FailedJobError, OSError) as error:
                raise RedwoodError(
                    f"--launcher slurm: sbatch refuses the jobs ({_last_line(error)}); check --slurm."
                ) from error

    def _ended(self, started: Callable[[Job], None]) -> Iterator[tuple[Job, Outcome]]:
        self._look_for_gone()
        for job, record in list(self._submitted.items()):
            if job not in self._running and (job.folder / LOCK_FILE).exists():
                self._running.add(job)
                started(job)
            outcome = job.outcome() or self._given_back(record) or self._failure(job, record)
            if outcome is not None:
                del self._submitted[job]
                self._running.discard(job)
                self._gone.pop(job, None)
                yield job, outcome

    def _given_back(self, record: "submitit.Job[Outcome | None]") -> Outcome | None:
        """Return the outcome that the SLURM job returned: another process has the run, or the job failed."""
        if not record.paths.result_pickle.exists():
            return None
        try:
            outcome: Outcome | None = record.result()
        except Exception as error:  # submitit hands on whatever it was
            return Failure(f"Its SLURM job {record.job_id} has failed: {_last_line(error)}.", unforeseen=True)
        return outcome

    def _failure(self, job: Job, record: "submitit.Job[Outcome | None]") -> Failure | None:
        """Return a failure if the job left the queue long ago and has no outcome."""
        if time.monotonic() - self._gone.get(job, time.monotonic()) < GONE_S:
            return None
        failure = Failure(
            f"Its SLURM job {record.job_id} has ended without an outcome: it was cancelled, or killed for its time, "
            f"its memory or its machine; see {record.paths.stderr}.",
            unforeseen=True,
        )
        job.write_failure(failure)
        return failure

    def _look_for_gone(self) -> None:
        """Note which jobs are no longer in the queue."""
        if not self._submitted or time.monotonic() - self._asked < QUEUE_POLL_S:
            return
        self._asked = time.monotonic()
        command = ["squeue", "--noheader", "--array", "--format=%i", f"--name={self._name}"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.returncode == 0:  # the controller may be down for a while
            queued = set(answer.stdout.split())
            gone = [job for job, record in self._submitted.items() if record.job_id not in queued]
            self._gone = {job: self._gone.get(job, self._asked) for job in gone}


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(error).__name__
