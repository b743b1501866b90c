"""Worker processes: what they answer, and that nothing of them is left, whatever ends them."""

import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from redwood.core.calls import from_command_line
from redwood.core.errors import NotTrainedError, RedwoodError
from redwood.engine import processes
from redwood.engine.processes import Crashed, Refused, StoppedBySignal, WorkerCrashedError, Workers
from redwood.engine.signals import Stopped, stop_signals

PATIENCE_S = 60
ROOT = Path(__file__).resolve().parents[2]


def square(rank, number):
    return rank, number**2


def fail(rank, what):
    """On the second worker, while the first one would go on for long."""
    if rank == 0:
        time.sleep(600)
    if what == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "exit":
        os._exit(3)
    if what == "stopped":
        os.kill(os.getpid(), signal.SIGUSR1)
    if what == "ours":
        raise NotTrainedError("Nothing fits; use something else.")
    try:
        raise NotTrainedError("Nothing fits; use something else.")
    except NotTrainedError:
        raise KeyError("missing")  # noqa: B904


def told(rank, folder):
    """Say that it runs, and for how long it has been told to end."""
    (Path(folder) / str(rank)).write_text(str(os.getpid()))
    try:
        time.sleep(600)
    finally:
        (Path(folder) / f"{rank} ended").touch()


def caught(what):
    with pytest.raises(BaseException) as caught, Workers(2, fail, what) as workers:
        workers.result()
    return caught.value


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(processes, "GRACE_S", 0.3)


def test_the_first_one_answers():
    with Workers(2, square, 7) as workers:
        assert workers.result() == (0, 49)


def warn(rank):
    warnings.warn("Something looks wrong.", stacklevel=1)


def test_on_the_command_line_their_warnings_have_no_place_in_the_code(capfd):
    with from_command_line("python cli.py"), Workers(1, warn) as workers:
        workers.result()
    assert capfd.readouterr().err == "warning: Something looks wrong.\n"


def test_our_errors_arrive_as_their_sentence():
    found = caught("ours")
    assert type(found) is RedwoodError and str(found) == "Nothing fits; use something else."


def test_others_arrive_with_their_traceback_even_if_one_of_ours_came_before():
    found = caught("other")
    assert type(found) is WorkerCrashedError and "KeyError: 'missing'" in str(found)


@pytest.mark.parametrize(("what", "end"), [("killed", "signal SIGKILL"), ("exit", "exit status 3")])
def test_one_that_is_gone_ends_the_others(what, end):
    found = caught(what)
    assert isinstance(found, RedwoodError)
    assert str(found).startswith(f"Worker 1 was ended by {end}, and the others with it;")


def test_the_first_error_is_shown_and_not_that_of_a_worker_that_lost_another():
    workers = Workers(2, square, 7)
    workers._answers = {0: Refused("Another worker has ended.", elsewhere=False), 1: Crashed("ZeroDivisionError")}
    assert workers._first_cause(0) == 1
    workers._answers = {0: Crashed("ZeroDivisionError"), 1: StoppedBySignal(signal.SIGTERM)}
    assert workers._first_cause(0) == 1


def test_a_signal_to_one_stops_all():
    assert caught("stopped").number == signal.SIGUSR1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGINT])
@pytest.mark.few(1)
def test_they_are_told_when_this_process_is_to_end(number, tmp_path):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started this in the background
    with pytest.raises((Stopped, KeyboardInterrupt)), stop_signals(interrupts=True):  # noqa: SIM117
        with Workers(1, told, str(tmp_path)) as workers:
            wait_for(tmp_path / "0")
            signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), number))
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            workers.result()
    assert (tmp_path / "0 ended").exists()


PARENT = """
import sys
from redwood.engine.processes import Workers
from tests.engine.test_processes import told
if __name__ == "__main__":
    with Workers(2, told, sys.argv[1]) as workers:
        workers.result()
"""


def test_none_outlives_a_parent_that_is_killed(tmp_path):
    """Nor does anything else: no file, no semaphore, no process that keeps track of semaphores."""
    script = tmp_path / "script.py"
    script.write_text(PARENT)
    (tmp_path / "temporary").mkdir()
    shared = files_in_memory()
    environment = os.environ | {"TMPDIR": str(tmp_path / "temporary"), "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)], env=environment, start_new_session=True
    ) as parent:
        for rank in range(2):
            wait_for(tmp_path / str(rank))
        parent.kill()
    deadline = time.monotonic() + PATIENCE_S
    while group_of(parent.pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not group_of(parent.pid)
    assert not list((tmp_path / "temporary").iterdir())
    assert not list(tmp_path.glob("* ended")), "they are killed, too, not told"
    assert not files_in_memory() - shared


def files_in_memory():
    """Shared memory and semaphores, but for those that other tests make at the same time with joblib."""
    return {name for name in os.listdir("/dev/shm") if not name.startswith("sem.loky")}


def group_of(leader):
    """The processes that are alive in a group."""
    states = []
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split() if entry.name.isdigit() else []
        except OSError:
            continue
        if fields and int(fields[2]) == leader and fields[0] not in "ZX":
            states.append(entry.name)
    return states


def wait_for(path):
    deadline = time.monotonic() + PATIENCE_S
    while not path.exists() or not (path.is_dir() or path.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_each_gets_arguments_of_its_own_and_copies_of_a_server_answer_alike():
    for preload in ((), ("json",)):
        with Workers(2, square, own=[3, 4], preload=preload) as workers:
            assert workers.results() == [(0, 9), (1, 16)]
