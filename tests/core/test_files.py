"""Files that appear whole."""

import pytest

from redwood.core.files import remove_temporaries, replacing, temporary_path, write_atomically


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


def test_what_a_killed_process_was_writing_is_known_by_its_name(tmp_path):
    kept = {"file", "notes.tmp", ".hidden"}
    for name in kept:
        (tmp_path / name).touch()
    temporary_path(tmp_path / "file").touch()
    remove_temporaries(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == kept
