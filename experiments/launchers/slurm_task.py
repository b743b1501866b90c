"""The task of a SLURM job: one run. When SLURM asks it to end, it saves its state and goes back to the queue."""

import os
import signal
import subprocess
from dataclasses import replace

from redwood.engine.signals import Stopped, stop_signals
from redwood.experiments.launchers.jobs import Elsewhere, Job, run_job
from redwood.experiments.launchers.worker import print_to


def run_task(job: Job) -> Elsewhere | None:
    """Run the job, and leave its outcome in its folder.

    SIGUSR1 comes before the time limit: the run saves itself, and this job of SLURM goes back to the queue. SIGTERM
    comes before preemption, after which SLURM puts the job back by itself, or because the user cancels the job.

    Returns:
        None; or that another process has the run.
    """
    print_to(job.log)
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_DFL)  # submitit passes over the first, and takes another one for the limit
    with stop_signals():
        try:
            outcome = run_job(replace(job, waits=True))
        except Stopped as stop:
            # Inside the block, which listens to the first signal only: SLURM may send it again, and again.
            if stop.number == signal.SIGUSR1:
                subprocess.run(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]], check=True)
            raise
    return outcome if isinstance(outcome, Elsewhere) else None
