"""Files that appear whole."""

import os
import time

import pytest

from redwood.core.files import (
    link_or_copy,
    read_json,
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
