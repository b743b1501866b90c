"""Segments of the journal: what they hold after they were closed, cut short or full."""

import errno
import os

import numpy as np
import pytest

from redwood.buffers.shared import journal
from redwood.buffers.shared.journal import JournalError, JournalSegment
from redwood.core.errors import StorageError

STRIDE = 16


def rows_of(*values):
    return np.repeat(np.array(values, dtype=np.uint8), STRIDE).view(np.dtype((np.void, STRIDE)))


def content(segment):
    found = [zip(slots.tolist(), rows, strict=True) for slots, rows in segment.newest_first()]
    return [(slot, row.tobytes()[0]) for records in found for slot, row in records]


def filled(path):
    segment = JournalSegment(path, STRIDE, fresh=True)
    segment.append(np.array([3, 1]), rows_of(30, 10))
    segment.append(np.array([2]), rows_of(20))
    return segment


def test_records_come_back_newest_first(tmp_path):
    filled(tmp_path / "segment").close()
    assert content(JournalSegment(tmp_path / "segment", STRIDE, fresh=False)) == [(2, 20), (1, 10), (3, 30)]


def test_it_is_read_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "_CHUNK", 2 * (8 + STRIDE))
    assert content(filled(tmp_path / "segment")) == [(2, 20), (1, 10), (3, 30)]


def test_it_goes_on_behind_the_records_of_before(tmp_path):
    filled(tmp_path / "segment").close()
    segment = JournalSegment(tmp_path / "segment", STRIDE, fresh=False)
    segment.append(np.array([5]), rows_of(50))
    assert content(segment)[0] == (5, 50)
    assert segment.n_records == 4


def test_a_record_does_not_count_before_the_number_does(tmp_path, monkeypatch):
    segment = filled(tmp_path / "segment")
    monkeypatch.setattr(JournalSegment, "_commit", lambda self, n: None)
    segment.append(np.array([7]), rows_of(70))
    monkeypatch.undo()
    assert content(JournalSegment(tmp_path / "segment", STRIDE, fresh=False)) == [(2, 20), (1, 10), (3, 30)]


def test_the_number_is_written_after_the_records(tmp_path, monkeypatch):
    segment, offsets, write = filled(tmp_path / "segment"), [], os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, offset: offsets.append(offset) or write(file, data, offset))
    segment.append(np.array([7]), rows_of(70))
    assert offsets == [8 + 3 * (8 + STRIDE), 0]


@pytest.mark.parametrize("n_bytes", [0, 5, 8 + STRIDE, 8 + 3 * (8 + STRIDE) - 1])
def test_what_is_cut_short_is_refused(tmp_path, n_bytes):
    filled(tmp_path / "segment").close()
    os.truncate(tmp_path / "segment", n_bytes)
    with pytest.raises(JournalError, match="cut short"):
        JournalSegment(tmp_path / "segment", STRIDE, fresh=False)


def test_a_missing_one_is_refused(tmp_path):
    with pytest.raises(JournalError, match="missing"):
        JournalSegment(tmp_path / "segment", STRIDE, fresh=False)


def test_a_full_file_system_is_told_in_one_sentence_and_no_record_is_added(tmp_path, monkeypatch):
    segment, write = filled(tmp_path / "segment"), os.pwrite

    def full(file, data, offset):
        if len(data) > 10:  # half of it has room
            write(file, data[:10], offset)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(StorageError, match=r"No space left on device\); make the buffer smaller, .* tier host\.$"):
        segment.append(np.array([7]), rows_of(70))
    monkeypatch.undo()
    assert content(segment) == [(2, 20), (1, 10), (3, 30)]
