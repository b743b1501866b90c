"""Files that appear whole."""

import os
import re
import resource
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from redwood.core.errors import DataError, InvalidOptionError, StorageError
from redwood.core.files import (
    link_or_copy,
    plain,
    read_bytes,
    read_json,
    read_text,
    refuse_foreign,
    remove_temporaries,
    replacing,
    temporary_path,
    write_atomically,
    write_new_json,
)


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "file"
    for content in (b"old", b"new"):
        write_atomically(path, content)
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == [path] and path.read_bytes() == b"old"


@pytest.mark.parametrize("links", [True, False])
def test_a_second_name_replaces_the_file_that_had_it(tmp_path, monkeypatch, links):
    source, path = tmp_path / "source", tmp_path / "path"
    source.write_bytes(b"new")
    path.write_bytes(b"old")
    if not links:
        monkeypatch.setattr(os, "link", lambda *names: (_ for _ in ()).throw(OSError("no links here")))
    for _ in range(2):  # of a file that has both names already, too
        link_or_copy(source, path)
    assert path.read_bytes() == b"new" and path.samefile(source) is links
    assert sorted(tmp_path.iterdir()) == [path, source]


def test_what_a_killed_process_was_writing_is_known_by_its_name(tmp_path):
    kept = {"file", "notes.tmp", ".hidden"}
    for name in kept:
        (tmp_path / name).touch()
    temporary_path(tmp_path / "file").touch()
    remove_temporaries(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == kept


def test_only_old_files_may_be_removed(tmp_path):
    old, new = temporary_path(tmp_path / "file"), temporary_path(tmp_path / "file")
    for path in (old, new):
        path.touch()
    os.utime(old, (time.time() - 100,) * 2)
    remove_temporaries(tmp_path, older_than_s=50)
    assert list(tmp_path.iterdir()) == [new]


@pytest.mark.parametrize("links", [True, False])
def test_the_first_of_several_writers_wins(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(PermissionError()))
    path = tmp_path / "file.json"
    write_new_json(path, {"writer": 1})
    assert read_json(path) == {"writer": 1}
    write_new_json(path, {"writer": 2})
    assert read_json(path) == {"writer": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_that_cannot_be_written(tmp_path):
    (tmp_path / "folder").touch()
    with pytest.raises(OSError, match="folder"):
        write_new_json(tmp_path / "folder" / "file.json", {})


def test_a_file_of_the_users_choice_is_replaced_only_if_the_same_command_wrote_it(tmp_path):
    own, path = (re.compile(b"^own"), "--out"), tmp_path / "file"
    refuse_foreign(path, *own)
    for content in (b"own 1", b"own 2"):
        write_atomically(path, content, own=own)
    path.write_bytes(b"the user's own")
    with pytest.raises(InvalidOptionError, match=r"--out .*file was not written by this command, and would be lost"):
        refuse_foreign(path, *own)
    with pytest.raises(InvalidOptionError), replacing(path, own) as temporary:  # it was written meanwhile
        temporary.write_bytes(b"own 3")
    assert path.read_bytes() == b"the user's own" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("nowhere")])
def test_what_is_no_file_is_not_replaced(tmp_path, make):
    make(tmp_path / "path")
    with pytest.raises(InvalidOptionError, match="--out"):
        refuse_foreign(tmp_path / "path", re.compile(b""), "--out")


@contextmanager
def file_size_limit(n_bytes: int) -> Iterator[None]:
    """No file can have more bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_no_room_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with (
        pytest.raises(StorageError, match=rf"^{path} cannot be written \(File too large\); make room there, and .*\.$"),
        file_size_limit(100),
    ):
        write_atomically(path, bytes(1000))
    assert list(tmp_path.iterdir()) == [path] and path.read_bytes() == b"old"


def test_a_folder_that_is_gone(tmp_path):
    shutil.rmtree(tmp_path)
    with pytest.raises(StorageError, match=r"cannot be written \(its folder is gone\); start again\.$"):
        write_atomically(tmp_path / "file", b"new")


def test_what_is_read_is_a_file_of_a_size_that_is_written(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="is no file, where one is read"):
        read_json(tmp_path / "pipe")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(2**31)
    with pytest.raises(DataError, match="has 2,147,483,648 bytes, more than any"):
        read_json(tmp_path / "large")


class TestRegularFiles:
    def test_reads_a_file(self, tmp_path):
        (tmp_path / "a").write_bytes("ä".encode())
        assert (read_bytes(tmp_path / "a"), read_text(tmp_path / "a")) == ("ä".encode(), "ä")

    @pytest.mark.parametrize(
        ("make", "reason"),
        [
            (os.mkfifo, "it is no regular file"),
            (lambda path: path.symlink_to("/dev/zero"), "it is no regular file"),
            (Path.mkdir, "Is a directory"),
            (lambda path: path.write_bytes(bytes(7)), "it has 7 bytes, and 6 are the most"),
            (lambda path: None, "No such file or directory"),
        ],
    )
    def test_refuses_all_else(self, tmp_path, make, reason):
        make(tmp_path / "given")
        with pytest.raises(OSError) as e:
            read_bytes(tmp_path / "given", 6)
        assert e.value.strerror == reason


def test_what_json_can_hold_stays_and_all_else_becomes_its_text():
    values = {1: (None, True, 3, "a", 0.5), "path": Path("b"), "numpy": np.float32(0.25), "endless": float("inf")}
    assert plain(values) == {"1": [None, True, 3, "a", 0.5], "path": "b", "numpy": 0.25, "endless": "inf"}
