"""One process at a time writes to a folder."""

import multiprocessing
import os
import pickle
import shutil
import signal
import threading
import time

import pytest

from redwood.core.errors import ElsewhereError, RedwoodError
from redwood.engine.folder_lock import LOCK_FILE, FolderLock


def hold(folder, ready):
    lock = FolderLock()  # which would be free if it were nobody's
    lock.acquire(folder)
    ready.set()
    time.sleep(60)


@pytest.fixture
def holder(tmp_path):
    """Another process that has the folder."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=hold, args=(tmp_path, ready), daemon=True)
    process.start()
    assert ready.wait(60)
    yield process
    process.kill()
    process.join()


def test_another_process_is_told_and_has_the_folder_once_the_owner_is_killed(tmp_path, holder):
    lock = FolderLock()
    assert not lock.try_acquire(tmp_path)
    with pytest.raises(ElsewhereError, match=f"Another process is writing to {tmp_path}; .* go on with redwood.resume"):
        lock.acquire(tmp_path, patience_s=0.1)
    os.kill(holder.pid, signal.SIGKILL)
    lock.acquire(tmp_path)
    assert lock.try_acquire(tmp_path), "it has it already"


def test_one_may_wait_until_the_owner_ends(tmp_path):
    owner, waiting = FolderLock(), FolderLock()
    owner.acquire(tmp_path)
    threading.Timer(0.2, owner.release).start()
    waiting.acquire(tmp_path, patience_s=None)
    assert not owner.try_acquire(tmp_path)


def test_two_locks_of_one_process_exclude_each_other(tmp_path):
    first, second = FolderLock(), FolderLock()
    assert first.try_acquire(tmp_path)
    assert not second.try_acquire(tmp_path)
    first.release()
    assert not (tmp_path / LOCK_FILE).exists()
    assert second.try_acquire(tmp_path)


def test_a_copied_folder_is_free(tmp_path):
    (tmp_path / "run").mkdir()
    lock = FolderLock()
    lock.acquire(tmp_path / "run")
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    assert FolderLock().try_acquire(tmp_path / "copy")


def test_the_end_of_the_owner_of_a_moved_folder_frees_no_other_folder_of_its_name(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    first, second = FolderLock(), FolderLock()
    first.acquire(folder)
    folder.rename(tmp_path / "moved")
    folder.mkdir()
    second.acquire(folder)
    first.release()
    assert not FolderLock().try_acquire(folder)


def test_a_copy_that_is_sent_holds_nothing(tmp_path):
    lock = FolderLock()
    lock.acquire(tmp_path)
    copy = pickle.loads(pickle.dumps(lock))
    copy.release()
    assert not copy.try_acquire(tmp_path)


def make_pipe(path):
    os.mkfifo(path)


@pytest.mark.parametrize("make", [os.mkdir, make_pipe])
def test_what_is_no_file_is_refused(tmp_path, make):
    make(tmp_path / LOCK_FILE)
    with pytest.raises(RedwoodError, match="is no file, where a lock has its file; remove it"):
        FolderLock().acquire(tmp_path)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RedwoodError, match="cannot be written"):
        FolderLock().acquire(tmp_path / "file" / "run")


def test_a_file_in_the_place_of_a_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RedwoodError, match="is a file, where a run has its folder; remove it"):
        FolderLock().acquire(tmp_path / "file")
