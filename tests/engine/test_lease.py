"""One process at a time writes to a folder; a dead or frozen one loses it."""

import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from filelock import SoftFileLease

from redwood.cli import main
from redwood.core.errors import ElsewhereError, RedwoodError
from redwood.core.files import write_atomically
from redwood.engine import lease
from redwood.engine.lease import LOCK_FILE, FolderLease, is_held
from tests.cli.command import QUICK, content
from tests.methods.helpers import one_sentence

HOLDER = """
import pathlib, socket, sys, time
from redwood.core.errors import RedwoodError
from redwood.core.files import write_atomically
from redwood.engine import lease
folder, machine, lease.LEASE_S, lease.HEARTBEAT_S = pathlib.Path(sys.argv[1]), sys.argv[2], 1.5, 0.2
socket.gethostname = lambda: machine
held = lease.FolderLease()
held.acquire(folder)
print("held", flush=True)
for line in sys.stdin:
    try:
        write_atomically(folder / "file", line.encode())
        print("written", flush=True)
    except RedwoodError as error:
        print(error, flush=True)
"""
PAIR = ["--setting", "class_incremental", "--method", "finetune", *QUICK, "--quiet"]


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(lease, "LEASE_S", 1.5)
    monkeypatch.setattr(lease, "HEARTBEAT_S", 0.2)
    monkeypatch.setattr(lease, "POLL_S", 0.05)


class held:
    """Another process that has the folder, by default on this machine."""

    def __init__(self, folder, machine=None):
        command = [sys.executable, "-c", HOLDER, str(folder), machine or socket.gethostname()]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "held\n"

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.kill()
        self.process.communicate()

    def write(self, text):
        """What it says when it is to write a file."""
        self.process.stdin.write(f"{text}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()


def refusal(folder):
    with pytest.raises(RedwoodError) as caught:
        FolderLease().acquire(folder)
    assert one_sentence(caught.value)
    return str(caught.value)


def test_it_is_refused_until_the_other_process_ends_and_leaves_nothing(tmp_path):
    with held(tmp_path) as other:
        pid = other.process.pid
        assert f"Process {pid} on {socket.gethostname()} is writing to {tmp_path};" in refusal(tmp_path)
        assert is_held(tmp_path)
        other.process.kill()
        other.process.wait()
        own = FolderLease()
        assert own.try_acquire(tmp_path), "a dead process of this machine is known to be dead"
        own.acquire(tmp_path)
    assert f"Process {os.getpid()} on" in refusal(tmp_path)
    own.release()
    assert not list(tmp_path.iterdir()) and not is_held(tmp_path)
    FolderLease().acquire(tmp_path)


@pytest.mark.parametrize("machine", [None, "elsewhere"])
def test_one_that_died_unnoticed_is_taken_over_after_the_lease(tmp_path, machine, capsys):
    """On another machine, or as a zombie on this one, which has a process id still."""
    with held(tmp_path, machine) as other:
        other.process.kill()
        os.waitid(os.P_PID, other.process.pid, os.WEXITED | os.WNOWAIT)
        assert is_held(tmp_path)
        started = time.monotonic()
        FolderLease().acquire(tmp_path)
        assert time.monotonic() - started > lease.LEASE_S
    assert "is taken over if it does not answer" in capsys.readouterr().err


def test_clocks_that_differ_do_not_matter(tmp_path, monkeypatch):
    """The file has a time of the distant past, or of the future: only its changes count."""
    for at in (1e6, 4e9):
        own, other = FolderLease(), FolderLease()
        own.acquire(tmp_path)
        stop = threading.Event()

        def beat(at=at, stop=stop):
            while not stop.wait(0.05):
                os.utime(tmp_path / LOCK_FILE, (at + time.monotonic() % 1000, at + time.monotonic() % 1000))

        thread = threading.Thread(target=beat)
        thread.start()
        assert "is writing to" in refusal(tmp_path)
        assert not other.try_acquire(tmp_path)
        stop.set()
        thread.join()
        own.release()


def test_a_frozen_process_that_wakes_writes_nothing_more(tmp_path):
    with held(tmp_path, "elsewhere") as other:
        assert other.write("first") == "written"
        other.process.send_signal(signal.SIGSTOP)
        own = FolderLease()
        own.acquire(tmp_path)
        write_atomically(tmp_path / "file", b"of the next owner")
        other.process.send_signal(signal.SIGCONT)
        assert f"another one has taken over {tmp_path}" in other.write("second")
        assert (tmp_path / "file").read_bytes() == b"of the next owner"
        own.release()
        assert "has taken over" in other.write("third"), "also when nobody has the folder any more"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_frozen_between_the_check_and_the_name(tmp_path, monkeypatch):
    """The next owner removes temporary files before it reads anything."""
    own = FolderLease()
    own.acquire(tmp_path)
    other = SoftFileLease(tmp_path / LOCK_FILE, lease_duration=1.5, heartbeat_interval=0.2, thread_local=False)

    def freeze(source, target):
        (tmp_path / LOCK_FILE).unlink()
        other.acquire(blocking=False)
        source.unlink()
        raise FileNotFoundError

    monkeypatch.setattr("redwood.core.files.os.replace", freeze)
    with pytest.raises(ElsewhereError, match="taken over"):
        write_atomically(tmp_path / "file", b"late")
    own.release()
    assert other.is_locked and (tmp_path / LOCK_FILE).exists(), "the lease of the next owner stays"


def test_where_two_names_cannot_be_exchanged(tmp_path, monkeypatch):
    """As on NFS: filelock leaves an expired lease there, and waits for ever."""
    monkeypatch.setattr("filelock._util._rename_call", lambda: (lambda source, target, flag: 22, 2))
    with held(tmp_path, "elsewhere") as other:
        other.process.send_signal(signal.SIGSTOP)
        own = FolderLease()
        own.acquire(tmp_path)
        own.check()
        other.process.send_signal(signal.SIGCONT)
        assert "has taken over" in other.write("late")
        own.release()
    assert not list(tmp_path.iterdir())


def test_of_two_that_remove_an_expired_lease_the_later_one_gives_it_back(tmp_path):
    own = FolderLease()
    own.acquire(tmp_path)
    lease._remove_expired(tmp_path / LOCK_FILE, (1.0, 2))
    own.check()
    assert [path.name for path in tmp_path.iterdir()] == [LOCK_FILE]


@pytest.mark.parametrize("machine", ["elsewhere", "here"])
def test_a_folder_is_moved_or_copied(tmp_path, machine):
    (tmp_path / "run").mkdir()
    own = FolderLease()
    own.acquire(tmp_path / "run")
    copy = shutil.copytree(tmp_path / "run", tmp_path / "copy")
    if machine == "elsewhere":
        text = (copy / LOCK_FILE).read_text()
        (copy / LOCK_FILE).write_text(text.replace(socket.gethostname(), "elsewhere"))
    started = time.monotonic()
    FolderLease().acquire(copy)  # nobody renews the copy
    assert (time.monotonic() - started > lease.LEASE_S) is (machine == "elsewhere")
    own.check()
    (tmp_path / "run").rename(tmp_path / "moved")
    assert "is writing to" in refusal(tmp_path / "moved")
    own.release()
    FolderLease().acquire(tmp_path / "moved")


@pytest.mark.parametrize("text", ["", "1\nelsewhere\n", "nonsense"])
def test_a_file_of_something_else_or_of_an_earlier_version_expires(tmp_path, text):
    (tmp_path / LOCK_FILE).write_text(text)
    FolderLease().acquire(tmp_path)


def test_an_empty_file_is_of_a_process_that_died_as_it_began(tmp_path, monkeypatch, capsys):
    """Two signs of life are enough; the lease would be a minute."""
    monkeypatch.setattr(lease, "LEASE_S", 600.0)
    monkeypatch.setattr(lease, "HEARTBEAT_S", 0.3)
    (tmp_path / LOCK_FILE).touch()
    own = FolderLease()
    own.acquire(tmp_path)
    assert "taken over if it does not answer for 0 s" in capsys.readouterr().err
    own.release()
    assert not list(tmp_path.iterdir())


def test_an_empty_file_of_a_process_that_lives_stays(tmp_path):
    (tmp_path / LOCK_FILE).touch()
    stop = threading.Event()

    def beat():
        while not stop.wait(0.05):
            os.utime(tmp_path / LOCK_FILE)

    thread = threading.Thread(target=beat)
    thread.start()
    assert "is writing to" in refusal(tmp_path)
    stop.set()
    thread.join()


def test_what_is_no_file_is_not_waited_for_without_end(tmp_path):
    for name in ("pipe", "folder"):
        (tmp_path / name).mkdir()
    os.mkfifo(tmp_path / "pipe" / LOCK_FILE)
    FolderLease().acquire(tmp_path / "pipe")
    (tmp_path / "folder" / LOCK_FILE).mkdir()
    assert f"{tmp_path / 'folder' / LOCK_FILE} is a folder" in refusal(tmp_path / "folder")


def test_another_lease_time(tmp_path, monkeypatch):
    own = FolderLease()
    own.acquire(tmp_path)
    text = (tmp_path / LOCK_FILE).read_text()
    own.release()
    (tmp_path / LOCK_FILE).write_text(text.replace("duration=1.5", "duration=77.0").replace("host=", "host=x"))
    assert "by another version of redwood" in refusal(tmp_path)


def test_a_folder_that_cannot_be_written_to(tmp_path, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(SoftFileLease, "_acquire", refuse)
    assert refusal(tmp_path).startswith(f"{tmp_path} cannot be written (Permission denied);")


@pytest.mark.parametrize("seeds", [1, 2])
def test_a_run_or_comparison_is_not_gone_on_with_twice(tmp_path, seeds, capsys):
    folder = tmp_path / "run"
    assert main([*PAIR, "--seeds", str(seeds), "--jobs", "1", "--run_dir", str(folder)]) == 0
    assert not list(folder.rglob(LOCK_FILE))
    for results in folder.rglob("results.json"):
        results.unlink()
    before = content(folder)
    go_on = ["--resume", str(folder), *(["--jobs", "1"] if seeds > 1 else [])]
    with held(folder):
        assert main(go_on) == 2
        assert f"go on with --resume {folder}" in capsys.readouterr().err
        assert {name: data for name, data in content(folder).items() if name != LOCK_FILE} == before
    assert main(go_on) == 0
    assert not list(folder.rglob(LOCK_FILE))


def test_a_copy_for_another_process_has_no_folder(tmp_path):
    """The method that a worker sends back holds the run, and with it the lease."""
    held = FolderLease()
    held.acquire(tmp_path)
    pickle.loads(pickle.dumps(held)).release()
    held.check()
    assert (tmp_path / LOCK_FILE).exists()
    held.release()
    assert not (tmp_path / LOCK_FILE).exists()
