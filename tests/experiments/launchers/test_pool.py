"""Runs side by side: what they measure is what they measure alone, and none takes another one with it."""

import json
import os
import signal
import sys
import time

import numpy as np
import pytest

from redwood.cli import main
from redwood.core.child_processes import main_module_hidden
from redwood.core.fork_server import ForkServer
from redwood.experiments.launchers import pool
from redwood.experiments.launchers.resources import Resources
from tests.cli.test_comparison import final_accuracy, table
from tests.experiments.launchers.small_jobs import SmallJob, lead_no_group, run_small
from tests.small_runs import MEASURED

DYING = """
import os, signal, sys
from redwood.methods.baselines import Random

class Killed(Random):
    def fit(self, phase):
        print("it got so far")
        os.kill(os.getpid(), signal.SIGKILL)

class Raising(Random):
    def fit(self, phase):
        1 / 0

class Leaving(Random):
    def fit(self, phase):
        os._exit(7)

class Exiting(Random):
    def fit(self, phase):
        sys.exit(3)

class Crashing(Random):
    def fit(self, phase):
        import ctypes
        ctypes.string_at(0)

class Orphaning(Random):
    \"\"\"Its child holds the pipe when it dies.\"\"\"

    def fit(self, phase):
        if os.fork() == 0:
            import time
            time.sleep(600)
        os._exit(1)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small data set, and methods that end their process."""
    folder = tmp_path_factory.mktemp("pool")
    rng = np.random.default_rng(0)
    y = np.arange(120) % 4
    np.savez(folder / "data.npz", x=(rng.random((120, 6)) + y[:, None]).astype(np.float32), y=y)
    (folder / "dying.py").write_text(DYING)
    return folder


def compare(folder, name, methods, *more):
    methods = ",".join(f"{folder}/dying.py:{name}" if name[0].isupper() else name for name in methods)
    arguments = ["--setting", "class_incremental", "--method", methods, "--dataset", str(folder / "data.npz")]
    arguments += ["--nb_tasks", "2", "--passes", "1", "--accelerator", "cpu", "--run_dir", str(folder / name), *more]
    return main(arguments)


def comparable(path):
    results = json.loads((path / "results.json").read_text())
    for name in MEASURED:
        results["cost"].pop(name, None)
    return results


def failures(folder):
    return {row["method"].rpartition(":")[2]: row["failure"] for row in table(folder)}


@pytest.mark.slow
def test_failures_do_not_stop_the_rest(folder, capfd, quick_processes):
    """A process dies; what the others measure is what they do one after the other, in this process."""
    assert compare(folder, "pool", ["Killed", "random", "finetune"], "--jobs", "2") == 1
    out, err = capfd.readouterr()
    assert compare(folder, "here", ["random", "finetune"], "--jobs", "1") == 0
    assert failures(folder / "pool") == {
        "Killed": f"Its process was ended by {pool._describe_exit(-signal.SIGKILL)}",
        "random": "",
        "finetune": "",
    }
    for method in ("random", "finetune"):
        run = f"class_incremental-{method}"
        assert comparable(folder / "pool" / run) == comparable(folder / "here" / run)
        assert "accuracy on the tasks so far" in (folder / "pool" / run / "log.txt").read_text()
    log = folder / "pool" / "class_incremental-Killed" / "log.txt"
    assert "it got so far" in log.read_text(), "a process that dies loses no line"
    assert err == ""
    lines = out.splitlines()
    assert sum(f"failed: what it printed is in {log}" in line for line in lines) == 1
    assert sum(line.startswith("[") and line.endswith(f"(see {log})") for line in lines) == 1
    accuracy = 100 * final_accuracy(folder / "pool" / "class_incremental-finetune")
    assert any(f"/ finetune, seed 0: average accuracy {accuracy:.1f} %, " in line for line in lines)
    assert [line[:5] for line in lines[:3]] == [f"[{number}/3]" for number in range(1, 4)]


@pytest.mark.slow
def test_every_way_to_die(folder, capfd):
    methods = ["Raising", "Leaving", "Crashing", "Exiting", "Orphaning", "random"]
    started = time.monotonic()
    assert compare(folder, "deaths", methods, "--jobs", "2", "--quiet") == 1
    assert time.monotonic() - started < 500, "nobody waits for an orphan"
    assert failures(folder / "deaths") == {
        "Raising": "ZeroDivisionError: division by zero",
        "Leaving": "Its process was ended by exit status 7.",
        "Crashing": "Its process was ended by signal SIGSEGV.",
        "Exiting": "SystemExit: 3",
        "Orphaning": "Its process was ended by exit status 1.",
        "random": "",
    }
    logs = {name: (folder / "deaths" / f"class_incremental-{name}" / "log.txt").read_text() for name in methods}
    assert "Traceback" in logs["Raising"] and "in fit" in logs["Raising"], "a mistake in the code"
    assert "Fatal Python error: Segmentation fault" in logs["Crashing"] and "in fit" in logs["Crashing"]
    out, err = capfd.readouterr()
    assert err == "" and "Traceback" not in out and not out.startswith("[")


@pytest.mark.slow
def test_a_mistake_in_a_worker_of_a_run(folder):
    """The worker's traceback is in the log, its last line in the table."""
    arguments = ["--setting", "class_incremental,distributed_class_incremental", "--nb_tasks", "2", "--passes", "1"]
    arguments += ["--method", f"{folder}/dying.py:Raising", "--dataset", str(folder / "data.npz"), "--quiet"]
    assert main([*arguments, "--accelerator", "cpu", "--run_dir", str(folder / "worker"), "--jobs", "2"]) == 1
    assert [row["failure"] for row in table(folder / "worker")] == ["ZeroDivisionError: division by zero"] * 2
    log = (folder / "worker" / "distributed_class_incremental-Raising" / "log.txt").read_text()
    assert "in fit" in log


@pytest.mark.slow
def test_seeds_and_workers_side_by_side(folder):
    """A run of two workers takes two places; more than there are is no reason not to start it."""
    for name, jobs in (("wide", "3"), ("narrow", "1")):
        arguments = ["--setting", "class_incremental,distributed_class_incremental", "--method", "finetune"]
        arguments += ["--dataset", str(folder / "data.npz"), "--nb_tasks", "2", "--passes", "2", "--seeds", "2"]
        assert main([*arguments, "--quiet", "--jobs", jobs, "--run_dir", str(folder / name)]) == 0
    runs = sorted(path.name for path in (folder / "wide").iterdir() if path.is_dir())
    assert len(runs) == 4
    for run in runs:
        assert comparable(folder / "wide" / run) == comparable(folder / "narrow" / run)


@pytest.fixture
def small_jobs(monkeypatch):
    """Pools have servers of their own, which import nothing, and run small jobs."""
    monkeypatch.setattr(pool, "ForkServer", ForkServer)
    monkeypatch.setattr(pool, "PRELOAD", ())
    monkeypatch.setattr(pool, "run_job", run_small)
    for name in pool.THREADS:
        monkeypatch.setenv(name, "3")


def run_jobs(folder, *names, at_once):
    folder.mkdir(exist_ok=True)
    with main_module_hidden(), pool.Pool(Resources([None] * at_once)) as launcher:
        server = launcher._server._forkserver_pid
        jobs = [SmallJob(name, folder) for name in names]
        outcomes = {job.name: outcome for job, outcome in launcher.run(jobs, started=lambda job: None)}
    with pytest.raises(ProcessLookupError):
        os.kill(server, 0)
    return outcomes


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_each_pool_has_a_server_with_its_own_threads_until_its_end(small_jobs, tmp_path):
    for at_once, threads in ((1, [3]), (2, [1]), (1, [3])):
        assert run_jobs(tmp_path, "a", "b", at_once=at_once) == {"a": threads, "b": threads}


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_killed_server_fails_no_job(small_jobs, tmp_path):
    """Jobs that run go on; those that follow, and that need new processes, get them from a server like the first."""
    outcomes = run_jobs(tmp_path, "kills_server", "waits", at_once=2)
    assert set(outcomes) == {"kills_server", "waits"} and all(isinstance(each, list) for each in outcomes.values())
    outcomes = run_jobs(tmp_path / "itself", "waits", "kills_server_and_itself", "a", "b", at_once=2)
    failure = outcomes.pop("kills_server_and_itself")
    assert failure.reason.startswith("Its process has ended in an unknown way: the server process that")
    assert (tmp_path / "itself" / "kills_server_and_itself.failure").read_text() == failure.reason
    assert isinstance(outcomes.pop("waits"), list)
    assert outcomes["a"] == [1] and isinstance(outcomes["b"], list)


def test_a_process_that_leads_no_group_yet_gets_signals(small_jobs, monkeypatch):
    monkeypatch.setattr(pool, "serve", lead_no_group)
    server = ForkServer([], {})
    process = pool._Process(server, {})
    process.signal(signal.SIGTERM)
    process.process.join(20)
    assert process.process.exitcode == -signal.SIGTERM
    process.end()
    server.stop()


def test_description_of_an_end():
    assert pool._describe_exit(-int(signal.SIGKILL)).startswith(
        "signal SIGKILL, as the system does when memory runs out; "
    )
    assert pool._describe_exit(3) == "exit status 3."
    assert pool._describe_exit(-int(signal.SIGBUS)) == "signal SIGBUS."
    assert pool._describe_exit(-200) == "signal 200."


def test_without_a_server_processes_are_started_anew(small_jobs, monkeypatch, tmp_path):
    """Their parent is this process then, whose threads `run_small` returns."""
    monkeypatch.setattr(pool, "is_available", lambda: False)
    with main_module_hidden(), pool.Pool(Resources([None] * 2)) as launcher:
        assert launcher._server is None
        outcomes = list(launcher.run([SmallJob("a", tmp_path)], started=lambda job: None))
    assert [job.name for job, _ in outcomes] == ["a"] and isinstance(outcomes[0][1], list)
