"""Files that a user names are regular files of a bounded size: a pipe would be waited for, a device has no end."""

import os
import signal

import pytest

from redwood.cli import main
from redwood.core import files
from redwood.methods.networks import weights
from tests.cli.command import assert_one_sentence

PAIR = ["--setting", "task_incremental", "--method", "finetune", "--accelerator", "cpu"]
# What names a file, and its suffix.
COMMANDS = {
    "--config": (["--config", "{}"], ".yaml"),
    "sweep": (["sweep", "{}", *PAIR], ".yaml"),
    "bench": (["bench", "{}"], ".yaml"),
    "--suite": (["--setting", "incremental_rl", "--method", "dqn", "--suite", "{}"], ".yaml"),
    "--stream_file": ([*PAIR, "--stream", "tasks", "--stream_file", "{}"], ".yaml"),
    "--concepts": ([*PAIR, "--stream", "s_plus", "--concepts", "{}"], ".yaml"),
    "--weights": ([*PAIR, "--model", "mlp", "--weights", "{}"], ".pt"),
    "--weights, safetensors": ([*PAIR, "--model", "mlp", "--weights", "{}"], ".safetensors"),
    "--backbone_weights": (
        ["--setting", "class_incremental", "--method", "ncm", "--backbone", "mlp", "--backbone_weights", "{}"],
        ".pt",
    ),
    "--dataset, arrays": ([*PAIR, "--dataset", "{}"], ".npz"),
    "--dataset, HDF5": ([*PAIR, "--dataset", "{}"], ".h5"),
    "--dataset, a table": ([*PAIR, "--dataset", "{}"], ".csv"),
    "--dataset, code": ([*PAIR, "--dataset", "{}:make"], ".py"),
    "--method, code": (["--setting", "class_incremental", "--method", "{}:Own"], ".py"),
}
OPTIONS = ["--config", "--stream_file", "--concepts", "--weights", "--weights, safetensors", "--backbone_weights"]
LIMIT_S = 60


@pytest.fixture(autouse=True)
def limited():
    """A command that waits for a pipe is ended."""

    def end(number, frame):
        raise TimeoutError("it still waits")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(LIMIT_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """The sentence by which a command refuses the file that it names."""
    monkeypatch.chdir(tmp_path)

    def sentence(name, make):
        arguments, suffix = COMMANDS[name]
        path = tmp_path / f"given{suffix}"
        make(path)
        assert main([argument.format(path) for argument in arguments]) == 2
        said = capsys.readouterr().err
        assert_one_sentence(said)
        assert path.name in said
        return said

    return sentence


@pytest.mark.parametrize("name", COMMANDS)
def test_a_pipe_is_not_waited_for(name, refused):
    said = refused(name, os.mkfifo)
    assert name not in OPTIONS or "(it is no regular file); name another" in said


@pytest.mark.parametrize("name", ["--config", "sweep", "bench", "--suite", "--stream_file", "--concepts"])
def test_a_text_that_is_too_large_is_not_read(name, refused, monkeypatch):
    monkeypatch.setattr(files, "MOST_TEXT_BYTES", 10)
    assert "it has 11 bytes, and 10 are the most" in refused(name, lambda path: path.write_bytes(b"a: 1\nb: 22\n"))


def test_weights_that_are_larger_than_the_memory_are_not_read(refused, monkeypatch):
    monkeypatch.setattr(weights, "available_on_host", lambda: 10)
    assert "it has 11 bytes, and 10 are the most" in refused("--weights", lambda path: path.write_bytes(bytes(11)))


@pytest.mark.parametrize("name", OPTIONS)
def test_a_missing_file_is_told(name, refused):
    said = refused(name, lambda path: None)
    assert any(words in said for words in ("No such file", "There is no file", "does not exist"))
