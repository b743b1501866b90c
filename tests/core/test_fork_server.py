"""Processes that are copies of a server: what they have of it, and what they have not."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.command import environment

# A script of its own, as a process has one server, and that of the tests runs already.
SCRIPT = """
import json, multiprocessing, os, signal, sys, time
from redwood.core.child_processes import end_with_parent
from redwood.core.fork_server import accept_signals, start, start_server

def report(pipe):
    blocked = sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
    accept_signals()
    after = sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
    pipe.send({
        "loaded": "decimal" in sys.modules, "variable": os.environ.get("REDWOOD_TEST"), "blocked": len(blocked),
        "after": after, "server": os.getppid(), "tasks": len(os.listdir(f"/proc/{os.getppid()}/task")),
    })

def wait(pipe):
    end_with_parent()
    pipe.send(os.getpid())
    time.sleep(60)

def run(context, job):
    here, there = context.Pipe()
    process = context.Process(target=job, args=(there,))
    start(process)
    return process, here.recv()

if __name__ == "__main__":
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    context = start_server(["decimal"], {"REDWOOD_TEST": "of the server"})
    assert "REDWOOD_TEST" not in os.environ and signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    _, told = run(context, report)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1):
        os.kill(told["server"], number)
    waiting, told["waiting"] = run(context, wait)
    if "killed" in sys.argv:
        print(json.dumps(told), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    os.kill(told["waiting"], signal.SIGKILL)
    waiting.join()
    told["exit"] = waiting.exitcode
    print(json.dumps(told))
"""


def told(tmp_path, *arguments):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script), *arguments], env=environment(), capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    return json.loads(done.stdout)


def running(number):
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_server_has_the_modules_and_no_threads_and_survives_signals_to_the_group(tmp_path):
    copy = told(tmp_path)
    assert (copy["loaded"], copy["variable"], copy["tasks"]) == (True, "of the server", 1)
    assert copy["blocked"] == 4 and copy["after"] == []
    assert copy["exit"] == -9


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_server_and_copies_end_with_a_process_that_is_killed(tmp_path):
    copy = told(tmp_path, "killed")
    deadline = time.monotonic() + 30
    for number in (copy["waiting"], copy["server"]):
        while running(number):
            assert time.monotonic() < deadline
            time.sleep(0.02)
