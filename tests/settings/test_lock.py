"""One process at a time writes to a folder."""

import subprocess
import sys

import pytest

from redwood.cli import main
from redwood.settings import lock
from redwood.settings.errors import RedwoodError
from redwood.settings.lock import FolderLock
from tests.cli.command import QUICK, content
from tests.methods.helpers import one_sentence

HOLDER = """
import pathlib, sys, time
from redwood.settings.lock import FolderLock
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


def test_it_is_refused_until_the_other_process_ends_and_leaves_nothing(tmp_path):
    with held(tmp_path) as other:
        own = FolderLock()
        with pytest.raises(RedwoodError, match="Another process is writing to") as caught:
            own.acquire(tmp_path)
        assert one_sentence(caught.value)
        other.kill()
        other.wait()
        own.acquire(tmp_path)
        own.acquire(tmp_path)
    with pytest.raises(RedwoodError):
        FolderLock().acquire(tmp_path)
    own.release()
    FolderLock().acquire(tmp_path)
    assert not list(tmp_path.iterdir())


def test_one_that_ends_soon_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "PATIENCE_S", 20)
    with held(tmp_path) as other:
        other.kill()
        FolderLock().acquire(tmp_path)


def test_folders_without_locks_are_written_to(tmp_path, monkeypatch):
    def refuse(descriptor, how):
        raise OSError(95, "not supported")

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    FolderLock().acquire(tmp_path)


def test_systems_without_locks(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "fcntl", None)
    own = FolderLock()
    own.acquire(tmp_path)
    own.release()


@pytest.mark.parametrize("seeds", [1, 2])
def test_a_run_or_comparison_is_not_gone_on_with_twice(tmp_path, seeds, capsys):
    folder = tmp_path / "run"
    assert main([*PAIR, "--seeds", str(seeds), "--jobs", "1", "--run_dir", str(folder)]) == 0
    for results in folder.rglob("results.json"):
        results.unlink()
    before = content(folder)
    go_on = ["--resume", str(folder), *(["--jobs", "1"] if seeds > 1 else [])]
    with held(folder) as other:
        assert main(go_on) == 2
        assert f"go on with --resume {folder}" in capsys.readouterr().err
        assert content(folder) == before
        other.kill()
    assert main(go_on) == 0
