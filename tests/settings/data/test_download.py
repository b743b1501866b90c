import socket
import sys
import time
import urllib.request

import pytest

from redwood.settings.data import download
from redwood.settings.data.download import reason, staging


def test_success_moves_everything_and_merges_folders(tmp_path):
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    (tmp_path / "MNIST" / "old").write_text("kept")
    (tmp_path / "MNIST" / "raw" / "a").write_text("old")
    with staging(tmp_path) as folder:
        (folder / "MNIST" / "raw").mkdir(parents=True)
        (folder / "MNIST" / "raw" / "a").write_text("new")
        (folder / "b").write_text("b")
    files = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {"MNIST/old": "kept", "MNIST/raw/a": "new", "b": "b"}


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_failure_leaves_nothing_behind(tmp_path, error):
    with pytest.raises(error), staging(tmp_path / "new" / "data") as folder:
        (folder / "half").write_text("half")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_failure_keeps_what_was_there(tmp_path):
    (tmp_path / "a").write_text("a")
    with pytest.raises(RuntimeError), staging(tmp_path) as folder:
        (folder / "a").write_text("other")
        raise RuntimeError
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "a")]


def test_output_is_dropped(tmp_path, capsys):
    with staging(tmp_path):
        print("chatter")
        print("chatter", file=sys.stderr)
    print("after")
    assert tuple(capsys.readouterr()) == ("after\n", "")


def test_silent_server_times_out(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:  # accepts connections and never answers
        start = time.monotonic()
        with pytest.raises(TimeoutError), staging(tmp_path):
            urllib.request.urlopen(f"http://127.0.0.1:{server.getsockname()[1]}/")
    assert time.monotonic() - start < 5
    assert socket.getdefaulttimeout() is None


def test_reason_is_short():
    assert (
        reason(RuntimeError("Error:\nTried x, got:\n<urlopen error timed out>\n"))
        == "RuntimeError: urlopen error timed out"
    )
    assert reason(TimeoutError()) == "TimeoutError"
