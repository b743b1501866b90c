"""Rows that a later process finds, and puts back to a mark."""

import errno
import fcntl
import gc
import json
import os
import pickle
import random
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from redwood.buffers.layout import RowLayout
from redwood.buffers.shared import rows as rows_module
from redwood.buffers.shared.journal import JournalSegment
from redwood.buffers.shared.owner import NAME
from redwood.buffers.shared.rows import RowsLostError, SharedRows
from redwood.buffers.storage import RowStorage
from redwood.core.errors import BufferInputError, StorageError
from tests.buffers.shared.helpers import CAPACITY, LAYOUT, ME, numbers, samples, shared_rows, storage


def left_behind(folder, rank=0, world=1):
    """Rows at marks a (4 filled) and b (6), and some that were written later."""
    shared = shared_rows(folder, rank, world)
    rows = storage(shared)
    rows.write(torch.arange(4), samples(torch.arange(4)))
    shared.mark("a", 4)
    rows.write(torch.tensor([1, 4, 5]), samples(torch.tensor([11, 14, 15])))
    shared.mark("b", 6)
    rows.write(torch.tensor([1, 2, 6]), samples(torch.tensor([21, 22, 26])))
    rows.write(torch.tensor([1]), samples(torch.tensor([31])))


def recovered(folder, name, filled, rank=0, world=1, layout=LAYOUT, capacity=CAPACITY):
    return shared_rows(folder, rank, world).recover(layout, capacity, name, filled)


class TestGoingBack:
    def test_to_the_last_mark(self, tmp_path):
        left_behind(tmp_path)
        assert numbers(recovered(tmp_path, "b", 6)[:6]) == [0, 11, 2, 3, 14, 15]

    def test_to_the_one_before(self, tmp_path):
        left_behind(tmp_path)
        assert numbers(recovered(tmp_path, "a", 4)[:4]) == [0, 1, 2, 3]

    def test_twice(self, tmp_path):
        left_behind(tmp_path)
        recovered(tmp_path, "b", 6)
        assert numbers(recovered(tmp_path, "b", 6)[:6]) == [0, 11, 2, 3, 14, 15]
        assert numbers(recovered(tmp_path, "a", 4)[:4]) == [0, 1, 2, 3]

    def test_and_on_from_there(self, tmp_path):
        left_behind(tmp_path)
        shared = shared_rows(tmp_path)
        rows = RowStorage(LAYOUT, CAPACITY, shared=shared, rows=shared.recover(LAYOUT, CAPACITY, "a", 4))
        rows.write(torch.tensor([0, 1, 7]), samples(torch.tensor([40, 41, 47])))
        del shared, rows
        assert numbers(recovered(tmp_path, "a", 4)[:4]) == [0, 1, 2, 3]

    def test_a_mark_has_all_names_that_it_was_given(self, tmp_path):
        shared = shared_rows(tmp_path)
        rows = storage(shared)
        rows.write(torch.arange(2), samples(torch.arange(2)))
        for name in ("first", "second", "third"):
            shared.mark(name, 2)
        rows.write(torch.arange(2), samples(torch.tensor([8, 9])))
        del shared, rows
        for name in ("third", "first"):
            assert numbers(recovered(tmp_path, name, 2)[:2]) == [0, 1]

    @pytest.mark.parametrize("seed", range(20))
    def test_random_writes_are_undone(self, tmp_path, seed):
        generator = random.Random(seed)
        shared = shared_rows(tmp_path)
        rows = storage(shared)
        filled, copies = 0, {}
        for number in range(40):
            name = f"mark {number}"
            if generator.random() < 0.3:
                shared.mark(name, filled)
                copies[name] = rows.words(filled).clone()
            slots = generator.sample(range(CAPACITY), generator.randrange(1, CAPACITY))
            filled = max(filled, 1 + max(slots))
            rows.write(torch.tensor(slots), samples(torch.arange(len(slots)) + 100 * number))
        del shared, rows
        assert len(copies) >= 2
        for name, copy in list(copies.items())[:-3:-1]:
            found = recovered(tmp_path, name, len(copy))[: len(copy)]
            assert torch.equal(found.view(torch.int64), copy.view(torch.int64))


class TestTheJournal:
    def test_it_holds_each_row_once_and_two_marks(self, tmp_path):
        shared = shared_rows(tmp_path)
        rows = storage(shared)
        rows.write(torch.arange(CAPACITY), samples(torch.arange(CAPACITY)))
        for number in range(5):
            shared.mark(f"mark {number}", CAPACITY)
            for _ in range(10):
                rows.write(torch.arange(CAPACITY), samples(torch.arange(CAPACITY)))
        segments = sorted(tmp_path.glob("*journal*"))
        assert [path.stat().st_size for path in segments] == 2 * [8 + CAPACITY * (8 + LAYOUT.stride)]

    def test_rows_that_no_mark_has_are_not_in_it(self, tmp_path):
        shared = shared_rows(tmp_path)
        rows = storage(shared)
        rows.write(torch.arange(4), samples(torch.arange(4)))
        shared.mark("a", 4)
        rows.write(torch.arange(4, CAPACITY), samples(torch.arange(4, CAPACITY)))
        assert {path.stat().st_size for path in tmp_path.glob("*journal*")} == {8}


class TestRowsThatCannotBeUsed:
    @pytest.mark.parametrize(
        ("name", "filled", "reason"),
        [("c", 6, "are not those of this checkpoint"), ("b", 5, "are 6, and those of the checkpoint 5")],
    )
    def test_another_mark(self, tmp_path, name, filled, reason):
        left_behind(tmp_path)
        with pytest.raises(RowsLostError, match=f"^{reason}$"):
            recovered(tmp_path, name, filled)

    def test_the_third_last_mark(self, tmp_path):
        shared = shared_rows(tmp_path)
        rows = storage(shared)
        for name in ("a", "b", "c"):
            rows.write(torch.arange(2), samples(torch.arange(2)))
            shared.mark(name, 2)
        del shared, rows
        with pytest.raises(RowsLostError, match="not those of this checkpoint"):
            recovered(tmp_path, "a", 2)

    def test_none(self, tmp_path):
        with pytest.raises(RowsLostError, match=r"^are missing$"):
            recovered(tmp_path, "a", 4)

    def test_of_another_number_of_workers(self, tmp_path):
        left_behind(tmp_path, world=4)
        with pytest.raises(RowsLostError, match=r"^are of a run of 4 workers, and this one has 2$"):
            recovered(tmp_path, "b", 6, world=2)

    def test_of_another_size(self, tmp_path):
        left_behind(tmp_path)
        with pytest.raises(RowsLostError, match="of another run"):
            recovered(tmp_path, "b", 6, capacity=CAPACITY + 1)

    def test_of_another_layout(self, tmp_path):
        left_behind(tmp_path)
        with pytest.raises(RowsLostError, match="of another run"):
            recovered(tmp_path, "b", 6, layout=RowLayout.of({"x": torch.zeros(1, 6), "y": torch.arange(1)}))

    @pytest.mark.parametrize(
        ("pattern", "reason"), [("*.rows", "cut short"), ("*journal-2", "journal is cut short"), ("*.json", "damaged")]
    )
    def test_torn_files(self, tmp_path, pattern, reason):
        left_behind(tmp_path)
        (path,) = tmp_path.glob(pattern)
        os.truncate(path, path.stat().st_size - 1)
        with pytest.raises(RowsLostError, match=reason):
            recovered(tmp_path, "a", 4)

    def test_a_journal_that_names_a_slot_that_does_not_exist(self, tmp_path):
        left_behind(tmp_path)
        (path,) = tmp_path.glob("*journal-2")
        segment = JournalSegment(path, LAYOUT.stride, fresh=False)
        (_, rows), *_ = segment.newest_first()
        segment.append(np.array([0, CAPACITY]), rows[:1].repeat(2))
        segment.close()
        with pytest.raises(RowsLostError, match="slots that do not exist"):
            recovered(tmp_path, "a", 4)

    def test_an_index_of_something_else(self, tmp_path):
        left_behind(tmp_path)
        (path,) = tmp_path.glob("*.json")
        path.write_text(json.dumps([1, 2]))
        with pytest.raises(RowsLostError, match="damaged"):
            recovered(tmp_path, "a", 4)

    @pytest.mark.parametrize("pattern", ["*.json", "*.rows", "*journal-2"])
    def test_files_of_another_user(self, tmp_path, monkeypatch, pattern):
        left_behind(tmp_path)
        (planted,) = tmp_path.glob(pattern)
        lstat = Path.lstat

        def of_another(path):
            status = lstat(path)
            return os.stat_result((*status[:4], status.st_uid + (path == planted), *status[5:10]))

        monkeypatch.setattr(Path, "lstat", of_another)
        with pytest.raises(RowsLostError, match=r"^have files of another user$"):
            recovered(tmp_path, "b", 6)

    def test_that_another_process_still_uses(self, tmp_path):
        left_behind(tmp_path)
        (path,) = tmp_path.glob("*.rows")
        code = "import fcntl, sys; file = open(sys.argv[1], 'r+'); fcntl.lockf(file, 6); print(flush=True); input()"
        with subprocess.Popen(
            [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as other:
            assert other.stdout.readline()
            with pytest.raises(RowsLostError, match="still used by another process"):
                recovered(tmp_path, "b", 6)
            other.stdin.close()
        assert numbers(recovered(tmp_path, "b", 6)[:6]) == [0, 11, 2, 3, 14, 15]


def test_no_other_user_can_read_a_file(tmp_path):
    before = os.umask(0)
    try:
        left_behind(tmp_path)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


class TestSpace:
    def test_too_little_for_the_rows(self, tmp_path, monkeypatch):
        def full(handle, offset, n_bytes):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "posix_fallocate", full)
        with pytest.raises(StorageError, match=r"does not fit into .* \(No space left on device\); make it smaller"):
            storage(shared_rows(tmp_path))
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("world", [1, 3])
    def test_it_is_there_for_rows_and_journals_and_others(self, tmp_path, monkeypatch, world):
        monkeypatch.setattr(rows_module, "FOLDER", tmp_path)
        total, blocks = 3 * CAPACITY * LAYOUT.stride + 2 * (8 + 8 * CAPACITY), 2**20
        headroom = blocks // 4
        free = world * total + headroom - 1
        monkeypatch.setattr(os, "statvfs", lambda folder: status_of(free, blocks))
        with pytest.raises(StorageError, match=rf"of {world} workers take {world * total:,} bytes .* {headroom:,} "):
            storage(shared_rows(tmp_path, world=world))
        assert list(tmp_path.iterdir()) == []
        monkeypatch.setattr(os, "statvfs", lambda folder: status_of(free + 1, blocks))
        storage(shared_rows(tmp_path, world=world))

    def test_what_other_workers_have_made_counts_as_room(self, tmp_path, monkeypatch):
        storage(shared_rows(tmp_path, 1, world=2))
        gc.collect()  # it was another process's
        made = sum(path.stat().st_blocks * 512 for path in tmp_path.iterdir())
        needed = 2 * (3 * CAPACITY * LAYOUT.stride + 2 * (8 + 8 * CAPACITY))
        monkeypatch.setattr(os, "statvfs", lambda folder: status_of(max(0, needed - made), 2**20))
        storage(shared_rows(tmp_path, 0, world=2))
        assert len(list(tmp_path.glob("*.rows"))) == 2

    def test_a_journal_leaves_room_to_others(self, tmp_path, monkeypatch):
        monkeypatch.setattr(rows_module, "FOLDER", tmp_path)
        shared = shared_rows(tmp_path)
        rows = storage(shared)
        rows.write(torch.arange(4), samples(torch.arange(4)))
        shared.mark("a", 4)
        monkeypatch.setattr(os, "statvfs", lambda folder: status_of(2**18, 2**20))
        with pytest.warns(UserWarning, match=r"^Others have filled .* read their rows from disk\.$"):
            rows.write(torch.arange(4), samples(torch.arange(4)))
        assert {path.suffix for path in tmp_path.iterdir()} == {".rows"}

    def test_it_is_reserved_before_it_is_written(self, tmp_path):
        rows = storage(shared_rows(tmp_path))
        (path,) = tmp_path.glob("*.rows")
        assert path.stat().st_blocks * 512 >= rows.nbytes

    def test_a_folder_that_does_not_exist(self, tmp_path):
        with pytest.raises(StorageError, match=r"cannot be used \(No such file or directory\)"):
            storage(shared_rows(tmp_path / "nowhere"))

    def test_too_little_for_the_journal_ends_no_training(self, tmp_path, monkeypatch):
        left_behind(tmp_path)
        shared = shared_rows(tmp_path)
        rows = RowStorage(LAYOUT, CAPACITY, shared=shared, rows=shared.recover(LAYOUT, CAPACITY, "b", 6))
        monkeypatch.setattr(os, "pwrite", no_space_left)
        with pytest.warns(UserWarning, match=r"\(No space left on device\); .* read their rows from disk\.$"):
            rows.write(torch.tensor([1]), samples(torch.tensor([51])))
        rows.write(torch.tensor([2]), samples(torch.tensor([52])))
        shared.mark("c", 6)
        assert {path.suffix for path in tmp_path.iterdir()} == {".rows"}
        monkeypatch.undo()
        rows.write(torch.tensor([3]), samples(torch.tensor([53])))
        shared.mark("d", 6)
        rows.write(torch.arange(6), samples(torch.arange(6)))
        del shared, rows
        for name in ("a", "b", "c"):
            with pytest.raises(RowsLostError, match="not those of this checkpoint"):
                recovered(tmp_path, name, 6)
        assert numbers(recovered(tmp_path, "d", 6)[:6]) == [0, 51, 52, 53, 14, 15]

    def test_rows_that_changed_without_a_record_are_those_of_no_mark(self, tmp_path, monkeypatch):
        left_behind(tmp_path)
        shared = shared_rows(tmp_path)
        rows = RowStorage(LAYOUT, CAPACITY, shared=shared, rows=shared.recover(LAYOUT, CAPACITY, "b", 6))
        monkeypatch.setattr(os, "pwrite", no_space_left)
        monkeypatch.setattr(RowStorage, "_write_part", lambda *args: pytest.fail("it is killed before"))
        with pytest.warns(UserWarning, match="read their rows from disk"), pytest.raises(pytest.fail.Exception):
            rows.write(torch.tensor([1]), samples(torch.tensor([51])))
        del shared, rows
        with pytest.raises(RowsLostError, match="are missing"):
            recovered(tmp_path, "b", 6)

    def test_too_little_for_the_index_ends_no_training(self, tmp_path, monkeypatch):
        shared = shared_rows(tmp_path)
        rows = storage(shared)
        rows.write(torch.arange(4), samples(torch.arange(4)))
        monkeypatch.setattr("redwood.buffers.shared.rows.replacing", no_space_left)
        with pytest.warns(UserWarning, match="read their rows from disk"):
            shared.mark("a", 4)
        rows.write(torch.arange(4), samples(torch.arange(4)))
        assert {path.suffix for path in tmp_path.iterdir()} == {".rows"}


def status_of(free, total):
    return SimpleNamespace(f_bavail=free, f_blocks=total, f_frsize=1)


def no_space_left(*args):
    raise OSError(errno.ENOSPC, "No space left on device")


class TestFiles:
    def test_new_rows_take_the_place_of_those_before(self, tmp_path):
        left_behind(tmp_path)
        storage(shared_rows(tmp_path))
        assert len(list(tmp_path.glob("*.rows"))) == len(list(tmp_path.glob("*journal*"))) == 1

    def test_two_buffers_of_a_process_have_files_of_their_own(self, tmp_path):
        pair = [shared_rows(tmp_path), shared_rows(tmp_path)]
        for number, shared in enumerate(pair):
            storage(shared).write(torch.arange(2), samples(torch.arange(2) + 10 * number))
            shared.mark("a", 2)
        pair.clear()
        del shared
        pair = [shared_rows(tmp_path), shared_rows(tmp_path)]
        found = [numbers(shared.recover(LAYOUT, CAPACITY, "a", 2)[:2]) for shared in pair]
        assert found == [[0, 1], [10, 11]]

    def test_they_are_found_by_a_process_that_counts_its_buffers_otherwise(self, tmp_path):
        unused = shared_rows(tmp_path)  # by nobody, but it is still there
        left_behind(tmp_path)
        del unused
        shared = shared_rows(tmp_path)
        assert numbers(shared.recover(LAYOUT, CAPACITY, "b", 6)[:6]) == [0, 11, 2, 3, 14, 15]
        other = shared_rows(tmp_path)
        storage(other)
        del shared, other
        assert len(list(tmp_path.glob("*.rows"))) == 2

    def test_those_of_workers_that_are_elsewhere_now_vanish(self, tmp_path):
        for rank in (4, 5):
            left_behind(tmp_path, rank, 6)
        shared = SharedRows(ME, 0, 4, str(tmp_path), local=range(2))
        left_behind(tmp_path, 1, 4)
        storage(shared)
        assert {path.name.split("-")[5] for path in tmp_path.glob("*.rows")} == {"0", "1"}

    def test_those_of_workers_that_there_are_no_more_vanish(self, tmp_path):
        for rank in range(3):
            left_behind(tmp_path, rank, 3)
        storage(shared_rows(tmp_path, 1, 2))
        assert {path.name.split("-")[5] for path in tmp_path.glob("*.rows")} == {"0", "1"}

    def test_what_a_kill_has_left_half_written_vanishes(self, tmp_path):
        left_behind(tmp_path)
        (index,) = tmp_path.glob("*.json")
        half = tmp_path / f".{index.name}.0123.tmp"
        half.touch()
        storage(shared_rows(tmp_path))
        assert not half.exists()

    def test_an_owner_that_has_ended_leaves_nothing(self, tmp_path, monkeypatch):
        left_behind(tmp_path)
        other = tmp_path / f"{NAME}-another_machine-1-1-0-0.json"
        other.touch()
        started = shared_rows(tmp_path)._owner.started
        for path in tmp_path.glob(f"*{started}*"):
            path.rename(tmp_path / path.name.replace(started, "1"))
        storage(shared_rows(tmp_path))
        assert not list(tmp_path.glob("*-1-0-0.*rows"))
        assert other.exists()


def test_copies_are_refused(tmp_path):
    with pytest.raises(BufferInputError, match="to pickle a buffer, choose the tier host"):
        pickle.dumps(shared_rows(tmp_path))


def test_only_workers_of_torchrun_have_them(monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    with pytest.raises(BufferInputError, match="start the run with torchrun"):
        SharedRows.of_this_worker()


def test_the_lock_is_this_process_own(tmp_path):
    """A forked process, such as one that loads data, does not keep the rows from the next worker."""
    rows = storage(shared_rows(tmp_path))
    child = os.fork()
    if not child:
        (path,) = tmp_path.glob("*.rows")
        with path.open("r+") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert rows.capacity == CAPACITY
