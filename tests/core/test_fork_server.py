"""Processes that are copies of a server: what they have of it, and what they have not."""

import gc
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from redwood.core import fork_server
from redwood.core.child_processes import end_with_parent
from redwood.core.fork_server import ForkServer, ForkServerError, accept_signals, is_available
from tests.cli.command import ROOT, environment

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

SIGNALS = [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1]
# A script of its own, as it is killed.
SCRIPT = """
import os, signal, sys, time
from redwood.core.fork_server import ForkServer
from tests.core.test_fork_server import run, wait

if __name__ == "__main__":
    server = ForkServer([sys.argv[1]], {})
    server.ensure_running()
    waiting = run(server, wait)[1] if sys.argv[1] == "decimal" else None
    while waiting is None and not os.path.exists("importing"):
        time.sleep(0.01)
    print([server._forkserver_pid, waiting or server._forkserver_pid], flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
SLOW = "import time; open('importing', 'w').close(); time.sleep(60)"


def report(pipe):
    blocked = sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
    accept_signals()
    accepted = sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
    told = {
        "importer": getattr(sys.modules.get("imported_once"), "importer", None),
        "blocked": blocked,
        "accepted": accepted,
        "server": os.getppid(),
    }
    told["tasks"] = len(os.listdir(f"/proc/{os.getppid()}/task"))
    told["frozen"] = gc.get_freeze_count() > 0  # its collector looks at nothing of the server
    told["variable"] = os.environ.get("REDWOOD_TEST")
    pipe.send(told)


def wait(pipe):
    os.setsid()
    end_with_parent(group=True)  # not with the server
    pipe.send(os.getpid())
    time.sleep(60)


def report_signals(pipe):
    pipe.send(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())))


def run(server, job):
    here, there = multiprocessing.Pipe()
    return server.start_process(job, (there,)), here.recv()


def running(number):
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for_end(*numbers):
    deadline = time.monotonic() + 30
    while any(map(running, numbers)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def server(tmp_path, monkeypatch):
    (tmp_path / "imported_once.py").write_text("import os; importer = os.getpid()")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    server = ForkServer(["imported_once"], {"REDWOOD_TEST": "of the server"})
    yield server
    server.stop()


def test_a_server_has_the_modules_and_no_threads_and_survives_signals_to_the_group(server):
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    _, told = run(server, report)
    assert "REDWOOD_TEST" not in os.environ and signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    assert (told["importer"], told["variable"], told["tasks"]) == (told["server"], "of the server", 1)
    assert told["blocked"] == sorted(SIGNALS) and told["accepted"] == []
    assert told["frozen"]
    for number in SIGNALS:
        os.kill(told["server"], number)
    waiting, number = run(server, wait)
    os.kill(number, signal.SIGKILL)
    waiting.join()
    assert (waiting.exitcode, waiting.is_orphan) == (-signal.SIGKILL, False)


def test_each_server_has_its_own_variables_and_ends_when_it_is_stopped(server):
    """Also while a copy lives, which would keep a server of multiprocessing running."""
    _, first = run(server, report)
    other = ForkServer([], {"REDWOOD_TEST": "of another"})
    _, second = run(other, report)
    assert (second["variable"], second["importer"]) == ("of another", None)
    assert second["server"] != first["server"]
    waiting, _ = run(other, wait)
    other.stop()
    assert not running(second["server"]) and running(first["server"])
    assert waiting.is_alive()
    waiting.kill()
    other.stop()


def test_processes_of_the_user_have_signals_as_usual(server, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from redwood.core.fork_server import ForkServer\n"
        "from tests.core.test_fork_server import report_signals\n"
        "import multiprocessing\n"
        "if __name__ == '__main__':\n"
        "    ForkServer([], {}).ensure_running()\n"
        "    here, there = multiprocessing.Pipe()\n"
        "    multiprocessing.get_context('forkserver').Process(target=report_signals, args=(there,)).start()\n"
        "    print(here.recv())\n"
    )
    assert printed(script, cwd=tmp_path) == "[]\n"


def test_a_killed_server_leaves_its_copies_and_is_started_anew_in_the_same_way(server):
    _, first = run(server, report)
    waiting, number = run(server, wait)
    os.kill(first["server"], signal.SIGKILL)
    wait_for_end(first["server"])
    assert waiting.is_alive() and waiting.is_orphan
    waiting.join(0.1)
    assert waiting.exitcode is None
    _, second = run(server, report)
    assert second["server"] != first["server"]
    for told in (first, second):
        assert told.pop("importer") == told.pop("server")
    assert second == first
    waiting.kill()
    waiting.join()
    assert not waiting.is_alive() and not running(number)


def test_a_server_that_ends_again_and_again(tmp_path, monkeypatch):
    (tmp_path / "ends_at_once.py").write_text("import os; os._exit(3)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    server = ForkServer(["ends_at_once"], {})
    with pytest.raises(ForkServerError, match=r"3 times before it made one.*fewer --jobs"):
        server.start_process(report, (multiprocessing.Pipe()[0],))
    server.stop()


@pytest.mark.parametrize("module", ["decimal", "slow_to_import"])
def test_server_and_copies_end_with_a_process_that_is_killed(module, tmp_path):
    """Also while the server imports."""
    (tmp_path / "slow_to_import.py").write_text(SLOW)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    with tempfile.TemporaryDirectory() as temporary:  # the path of a socket has to be short
        wait_for_end(*json.loads(printed(script, module, cwd=tmp_path, TMPDIR=temporary)))
        assert not os.listdir(temporary), "the server's socket is left"


def printed(script, *arguments, cwd, **variables):
    command = [sys.executable, str(script), *arguments]
    modules = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])  # the jobs are functions of this file
    env = environment(PYTHONPATH=modules, **variables)
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, cwd=cwd)
    assert done.stderr == ""
    return done.stdout


def test_another_version_of_python_has_none_and_says_so(monkeypatch):
    assert is_available()
    monkeypatch.setattr(fork_server, "TESTED", ((3, 9),))
    with pytest.warns(UserWarning, match="cannot be copied under Python 3"):
        assert not is_available()
