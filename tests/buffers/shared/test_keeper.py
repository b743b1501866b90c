"""Files vanish once their owner has ended, however it ended, and not before."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from redwood.buffers.shared import keeper, owner
from redwood.buffers.shared.keeper import start_of
from redwood.buffers.shared.owner import Owner, owner_of_this_worker, remove_stale
from redwood.buffers.shared.rows import SharedRows
from tests.buffers.shared.helpers import LAYOUT, numbers, samples, storage

LIMIT_S = 20


def child():
    return subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)


def owner_of(process):
    started = start_of(process.pid)
    assert started is not None
    return Owner(process.pid, started)


def wait_until(condition):
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def end_keepers():
    for process in owner._KEEPERS:
        process.wait(LIMIT_S)


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.few(1)
def test_files_of_two_workers_vanish_with_their_owner(tmp_path, signal_number):
    with child() as process:
        pair = [SharedRows(owner_of(process), rank, 2, str(tmp_path)) for rank in range(2)]
        for shared in pair:
            storage(shared).write(torch.arange(2), samples(torch.arange(2)))
            shared.mark("a", 2)
        half = tmp_path / f".{next(tmp_path.glob('*.json')).name}.0123.tmp"
        half.touch()
        other = tmp_path / "redwood-of-somebody-else"
        other.touch()
        wait_until(lambda: any(tmp_path.glob("*keeper")))
        time.sleep(0.2)
        assert len(list(tmp_path.glob("*.rows"))) == 2
        process.send_signal(signal_number)
    wait_until(lambda: list(tmp_path.iterdir()) == [other])
    end_keepers()
    assert list(tmp_path.iterdir()) == [other]


def test_one_keeper_is_enough(tmp_path):
    with child() as process:
        mine = owner_of(process)
        for _ in range(3):
            mine.start_keeper(tmp_path)
        wait_until(lambda: sum(process.poll() is None for process in owner._KEEPERS) == 1)
        process.kill()
    end_keepers()


def test_a_worker_whose_owner_has_ended_makes_no_more_files(tmp_path):
    with child() as process:
        shared = SharedRows(owner_of(process), 0, 1, str(tmp_path))
        storage(shared)
        process.kill()
    wait_until(lambda: not any(tmp_path.iterdir()))
    shared.mark("a", 0)
    assert not any(tmp_path.iterdir())
    end_keepers()


def test_rows_are_used_on_after_their_files_have_vanished(tmp_path):
    with child() as process:
        rows = storage(SharedRows(owner_of(process), 0, 1, str(tmp_path)))
        process.kill()
    wait_until(lambda: not any(tmp_path.iterdir()))
    rows.write(torch.arange(3), samples(torch.arange(3)))
    assert numbers(rows.words(3)) == [0, 1, 2]
    assert rows.layout == LAYOUT
    end_keepers()


def test_the_owner_is_the_parent(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "any")
    found = owner_of_this_worker()
    assert found.pid == os.getppid()
    assert found.is_alive()
    assert not Owner(found.pid, "1").is_alive()


def test_the_owner_has_started_the_script_that_started_the_worker(monkeypatch):
    command = [sys.executable, "-S", "-c", "input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env={**os.environ, "TORCHELASTIC_RUN_ID": "any"}) as script:
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "any")
        monkeypatch.setattr(os, "getppid", lambda: script.pid)
        wait_until(lambda: owner_of_this_worker().pid == os.getpid())  # it has its variables once it has begun
        script.kill()


@pytest.mark.parametrize("error", [PermissionError, OSError])
def test_the_end_is_waited_for_where_the_system_does_not_tell_of_it(monkeypatch, error):
    def refuse(pid):
        raise error

    looks = []
    with child() as process:
        monkeypatch.setattr(os, "pidfd_open", refuse)
        monkeypatch.setattr(keeper.time, "sleep", lambda seconds: looks.append(process.poll()) or process.kill())
        keeper.wait_for_end(process.pid, str(start_of(process.pid)))
    assert looks[0] is None


def test_files_of_a_container_that_has_ended_vanish(tmp_path):
    """They have the boot of this machine and another name of processes; the locks of their keepers tell them apart."""
    locks, age = {}, time.time() - 2 * keeper.YOUNG_S
    for number, name in enumerate(("runs", "ended", "begins")):
        prefix = f"{owner.NAME}-{owner._boot()}.other-{number}-1-"
        locks[name] = tmp_path / f"{prefix}keeper"
        for path in (locks[name], tmp_path / f"{prefix}0-0.json"):
            path.touch()
        if name != "begins":
            os.utime(locks[name], (age, age))
    with locks["runs"].open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        remove_stale(tmp_path)
    assert {path.name.split("-")[3] for path in tmp_path.iterdir()} == {"0", "2"}


def test_a_folder_that_is_gone_ends_the_keeper(tmp_path):
    with child() as process:
        folder = tmp_path / "folder"
        folder.mkdir()
        mine = owner_of(process)
        mine.start_keeper(folder)
        wait_until(lambda: any(Path(folder).glob("*keeper")))
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        process.kill()
    end_keepers()
    assert owner._KEEPERS[-1].returncode == 0
