"""Jobs of SLURM, where `sbatch` and its kin are scripts that run the jobs on this machine."""

import os
import signal
import sys
import textwrap
import threading
import time

import pytest
import submitit

from redwood.core.errors import RedwoodError
from redwood.engine.run import Run
from redwood.engine.signals import Stopped
from redwood.experiments.command_line.arguments import UsageError
from redwood.experiments.command_line.options import Options
from redwood.experiments.command_line.pairs import Pair
from redwood.experiments.launchers import slurm, slurm_task
from redwood.experiments.launchers.jobs import Elsewhere, Failure, Job
from redwood.experiments.launchers.slurm import Slurm, parse_resources
from redwood.experiments.launchers.slurm_task import run_task
from redwood.settings.base import Setting

# Notes its script, and starts nothing: the test says what becomes of the jobs.
SBATCH = """
#!{python}
import pathlib, sys
folder = pathlib.Path({folder!r})
number = len(list(folder.glob("script-*"))) + 1
(folder / f"script-{{number}}").write_text(pathlib.Path(sys.argv[1]).read_text())
if "nonsense" in pathlib.Path(sys.argv[1]).read_text():
    sys.exit("sbatch: error: invalid partition specified: nonsense")
print(f"Submitted batch job {{number}}")
"""
SQUEUE = "#!/bin/sh\ncat {folder}/queue\n"
NOTE = '#!/bin/sh\necho "$0" "$@" >> {folder}/calls\n'
FAILURE = Failure("It is broken.", unforeseen=False)


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Programs of SLURM that note how they are called."""
    folder = tmp_path / "cluster"
    folder.mkdir()
    for name, text in {"sbatch": SBATCH, "squeue": SQUEUE, "scancel": NOTE, "scontrol": NOTE, "srun": NOTE}.items():
        (folder / name).write_text(textwrap.dedent(text).strip().format(python=sys.executable, folder=str(folder)))
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(slurm, "POLL_S", 0.01)
    return folder


@pytest.fixture
def jobs(tmp_path):
    return [Job(Pair("continual", "random"), (), n, tmp_path / "run" / str(n), 1 + (n == 3)) for n in range(4)]


def script(cluster, number):
    return (cluster / f"script-{number}").read_text()


class TestResources:
    def test_names_of_sbatch(self):
        assert parse_resources(["mem=8G", "cpus_per_task=4", "time=2:00:00", "constraint=a=b"]) == {
            "mem": "8G",
            "cpus-per-task": "4",
            "time": "2:00:00",
            "constraint": "a=b",
        }

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (["array=1-3"], "--slurm array=1-3: 'array' is unknown; choose from account, "),
            (["mem"], "--slurm mem has no value; write it as mem=VALUE."),
            (["mem="], "--slurm mem= has no value"),
            (["mem_per_cpu=1", "mem-per-cpu=2"], "--slurm mem-per-cpu is given twice, as 1 and as 2; give it once."),
        ],
    )
    def test_refused(self, given, message):
        with pytest.raises(UsageError) as caught:
            parse_resources(given)
        assert str(caught.value).startswith(message)


class TestSubmission:
    def test_an_array_for_each_width(self, cluster, jobs, tmp_path):
        with Slurm(tmp_path / "slurm", {"partition": "a", "mem": "8G"}, at_once=2) as launcher:
            launcher.submit(jobs)
        narrow, wide = script(cluster, 1), script(cluster, 2)
        for line in ("array=0-2%2", "partition=a", "mem=8G", "cpus-per-task=1", "requeue", "signal=USR1@120"):
            assert f"#SBATCH --{line}\n" in narrow
        assert "--time" not in narrow, "the partition's own"
        assert "cpus-per-task=2" in wide and "--array" not in wide
        assert "--name redwood-" in (cluster / "calls").read_text(), "what is left is cancelled at the end"

    def test_jobs_chosen_late_are_submitted_when_there_is_room(self, cluster, jobs, tmp_path):
        taken, ended = [], []

        def choose():
            for job in jobs:
                assert len(taken) - len(ended) < 2
                taken.append(job)
                yield job
                job.write_failure(FAILURE)

        with Slurm(tmp_path / "slurm", {}, at_once=2) as launcher:
            for job, outcome in launcher.run(choose(), started=lambda job: None):
                assert outcome == FAILURE
                ended.append(job)
                for each in taken:
                    each.write_failure(FAILURE)
        assert ended == jobs

    def test_sbatch_refuses(self, cluster, jobs, tmp_path):
        with Slurm(tmp_path / "slurm", {"partition": "nonsense"}) as launcher, pytest.raises(RedwoodError) as caught:
            launcher.submit(jobs)
        assert "sbatch refuses the jobs (" in str(caught.value) and "invalid partition" in str(caught.value)

    def test_no_cluster(self, tmp_path, monkeypatch):
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(RedwoodError, match="there is no program sbatch here"):
            Slurm(tmp_path / "slurm", {})

    def test_no_submitit(self, tmp_path, monkeypatch):
        monkeypatch.setattr(slurm, "find_spec", lambda name: None)
        with pytest.raises(RedwoodError, match=r"pip install 'redwood\[cluster\]'"):
            Slurm(tmp_path / "slurm", {})


class TestOutcomes:
    def run(self, launcher, jobs):
        return dict(launcher.run(jobs, started=lambda job: None))

    def test_of_the_folder(self, cluster, jobs, tmp_path):
        for job in jobs:
            job.write_failure(FAILURE)
        with Slurm(tmp_path / "slurm", {}) as launcher:
            assert self.run(launcher, jobs) == dict.fromkeys(jobs, FAILURE)
        assert not (cluster / "calls").exists(), "nothing is left to cancel"

    def test_another_process_has_the_run(self, cluster, jobs, tmp_path):
        elsewhere = Elsewhere("Another process is writing.")
        path = tmp_path / "slurm" / "1_0_result.pkl"
        with Slurm(tmp_path / "slurm", {}) as launcher:
            launcher.submit(jobs[:1])
            submitit.core.utils.cloudpickle_dump(("success", elsewhere), path)
            assert self.run(launcher, []) == {jobs[0]: elsewhere}

    def test_gone_without_an_outcome(self, cluster, jobs, tmp_path, monkeypatch):
        """It is asked for twice: files may be seen late."""
        monkeypatch.setattr(slurm, "QUEUE_POLL_S", 0.01)
        monkeypatch.setattr(slurm, "GONE_S", 0.1)
        (cluster / "queue").write_text("1_1\n")
        threading.Timer(1.0, (cluster / "queue").write_text, [""]).start()
        started = time.monotonic()
        with Slurm(tmp_path / "slurm", {}) as launcher:
            found = self.run(launcher, jobs[:2])
        assert time.monotonic() - started > 1.0
        assert "Its SLURM job 1_0 has ended without an outcome" in found[jobs[0]].reason
        assert jobs[0].outcome() == found[jobs[0]], "told to other processes, too"

    def test_the_controller_does_not_answer(self, cluster, jobs, tmp_path, monkeypatch):
        monkeypatch.setattr(slurm, "QUEUE_POLL_S", 0.01)
        monkeypatch.setattr(slurm, "GONE_S", 0.0)
        threading.Timer(0.5, jobs[0].write_failure, [FAILURE]).start()
        with Slurm(tmp_path / "slurm", {}) as launcher:
            assert self.run(launcher, jobs[:1]) == {jobs[0]: FAILURE}


class TestTask:
    @pytest.fixture(autouse=True)
    def quiet(self, monkeypatch):
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)}
        monkeypatch.setattr(slurm_task, "print_to", lambda path: None)
        yield
        for number, handler in before.items():
            signal.signal(number, handler)

    @pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
    def test_a_signal_ends_the_run_and_sigusr1_puts_the_job_back(self, cluster, jobs, monkeypatch, number):
        """After SIGTERM, SLURM does that by itself; or the user has cancelled the job."""

        def execute(options):
            assert options.run.context.waits
            os.kill(os.getpid(), number)
            time.sleep(10)

        def call(command, check):
            os.kill(os.getpid(), number)  # once more, as SLURM may do
            return subprocess_run(command, check=check)

        subprocess_run = slurm_task.subprocess.run
        monkeypatch.setattr(slurm_task.subprocess, "run", call)
        monkeypatch.setenv("SLURM_JOB_ID", "17")
        monkeypatch.setattr(
            Setting, "apply", lambda setting, method, **run: execute(Options(setting, method, Run(**run)))
        )
        signal.signal(signal.SIGTERM, lambda number, frame: None)  # as submitit does
        with pytest.raises(Stopped):
            run_task(jobs[0])
        calls = (cluster / "calls").read_text() if (cluster / "calls").exists() else ""
        assert ("requeue 17" in calls) is (number == signal.SIGUSR1)

    def test_what_it_returns(self, jobs, monkeypatch):
        for outcome, expected in ((FAILURE, None), (Elsewhere("x"), Elsewhere("x"))):
            monkeypatch.setattr(slurm_task, "run_job", lambda job, outcome=outcome: outcome)
            assert run_task(jobs[0]) == expected
