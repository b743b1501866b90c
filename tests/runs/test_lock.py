"""One process at a time writes to a folder."""

import os
import shutil
import socket
import subprocess
import sys

import pytest
from filelock import SoftFileLock

from redwood.cli import main
from redwood.core.errors import RedwoodError
from redwood.runs import lock
from redwood.runs.lock import LOCK_FILE, FolderLock
from tests.cli.command import QUICK, content
from tests.methods.helpers import one_sentence

HOLDER = """
import pathlib, sys, time
from redwood.runs.lock import FolderLock
held = FolderLock()
held.acquire(pathlib.Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""
PAIR = ["--setting", "class_incremental", "--method", "finetune", *QUICK, "--quiet"]


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(lock, "PATIENCE_S", 0.3)


def held(folder):
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def refusal(folder):
    with pytest.raises(RedwoodError) as caught:
        FolderLock().acquire(folder)
    assert one_sentence(caught.value)
    return str(caught.value)


def test_it_is_refused_until_the_other_process_ends_and_leaves_nothing(tmp_path):
    with held(tmp_path) as other:
        assert f"Process {other.pid} on {socket.gethostname()} is writing to {tmp_path};" in refusal(tmp_path)
        other.kill()
        other.wait()
        own = FolderLock()
        own.acquire(tmp_path)
        own.acquire(tmp_path)
    assert f"Process {os.getpid()} on" in refusal(tmp_path)
    own.release()
    assert not list(tmp_path.iterdir())
    FolderLock().acquire(tmp_path)


def test_a_dead_process_whose_parent_has_not_noticed_holds_nothing(tmp_path):
    with held(tmp_path) as other:
        other.kill()
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)  # from now on it is a zombie
        FolderLock().acquire(tmp_path)


def test_one_that_ends_soon_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "PATIENCE_S", 20)
    with held(tmp_path) as other:
        other.kill()
        FolderLock().acquire(tmp_path)


def test_a_process_on_another_machine_is_named_with_the_file_to_remove(tmp_path, monkeypatch):
    """The system's locks do not reach other machines; the file does, through a network file system."""
    with held(tmp_path) as other:
        monkeypatch.setattr(lock, "_lock_on_this_machine", lambda folder: (None, True))
        with monkeypatch.context() as patch:
            patch.setattr(socket, "gethostname", lambda: "elsewhere")
            text = refusal(tmp_path)
        other.kill()
    assert f"Process {other.pid} on {socket.gethostname()} is writing" in text
    assert f"remove {tmp_path / LOCK_FILE} first" in text


@pytest.mark.parametrize("machine", ["elsewhere", "here"])
def test_a_folder_is_moved_or_copied(tmp_path, machine):
    (tmp_path / "run").mkdir()
    own = FolderLock()
    own.acquire(tmp_path / "run")
    copy = shutil.copytree(tmp_path / "run", tmp_path / "copy")
    if machine == "elsewhere":
        process, _, *rest = (copy / LOCK_FILE).read_text().splitlines()
        (copy / LOCK_FILE).write_text("\n".join([process, "elsewhere", *rest, ""]))
        assert "or this folder is a copy" in refusal(copy)
        (copy / LOCK_FILE).unlink()
    FolderLock().acquire(copy)
    (tmp_path / "run").rename(tmp_path / "moved")
    assert "is writing to" in refusal(tmp_path / "moved")
    own.release()
    FolderLock().acquire(tmp_path / "moved")


def test_a_file_that_names_nobody(tmp_path):
    (tmp_path / LOCK_FILE).touch()
    assert refusal(tmp_path).endswith(f"if there is none, remove {tmp_path / LOCK_FILE}.")


@pytest.mark.parametrize("lacking", ["of folders", "at all"])
def test_the_file_alone_where_there_are_no_locks(tmp_path, monkeypatch, lacking):
    def refuse(descriptor, how):
        raise OSError(95, "not supported")

    if lacking == "at all":
        monkeypatch.setattr(lock, "fcntl", None)
    else:
        monkeypatch.setattr(lock.fcntl, "flock", refuse)
    with held(tmp_path) as other:
        assert "is writing to" in refusal(tmp_path)
        other.kill()
        other.wait()
        own = FolderLock()
        own.acquire(tmp_path)  # by what filelock knows of the process that the file names
        own.release()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_to(tmp_path, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(SoftFileLock, "_acquire", refuse)
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
    with held(folder) as other:
        assert main(go_on) == 2
        assert f"go on with --resume {folder}" in capsys.readouterr().err
        assert {name: data for name, data in content(folder).items() if name != LOCK_FILE} == before
        other.kill()
    assert main(go_on) == 0
    assert not list(folder.rglob(LOCK_FILE))
