"""Data that is not there is told before the libraries are imported that would read it."""

import subprocess
import sys

import pytest
from PIL import Image

from redwood.cli import main
from redwood.core.errors import DataError, UnknownNameError
from redwood.settings.data.sources import refuse_absent
from tests.cli.command import ROOT, assert_one_sentence, environment

PAIR = ["--setting", "class_incremental", "--method", "rehearsal"]
WITHOUT_TORCH = """
import sys
from redwood.cli import main
status = main(sys.argv[1:])
print("imported", *sorted({"torch", "pandas", "pytorch_lightning"} & set(sys.modules)))
sys.exit(status)
"""
COMMANDS = {
    "an array file": ([*PAIR, "--dataset", "nosuch.npz"], "The data file nosuch.npz does not exist"),
    "a table": ([*PAIR, "--dataset=nosuch.csv"], "The table nosuch.csv does not exist"),
    "a folder": ([*PAIR, "--dataset", "no/such"], "names no folder or file that is there"),
    "a name": ([*PAIR, "--dataset", "digit"], "Did you mean digits?"),
    "one of several": (
        [*PAIR, "--stream", "tasks", "--dataset", "digits,no/such"],
        "no/such names no folder",
    ),
    "several without a stream": ([*PAIR, "--dataset", "digits,mnist"], "names 2 data sets, which are the tasks of a"),
    "of a user's method": (
        ["--setting", "class_incremental", "--method", "w.py:W", "--dataset", "nosuch.npz"],
        "nosuch",
    ),
    "of several pairs": (
        ["--setting", "all", "--method", "finetune", "--dataset", "nosuch.npz"],
        "does not exist",
    ),
    "to predict": (["predict", "run", "--dataset", "nosuch.npz"], "The data file nosuch.npz does not exist"),
    "to advise on": (["advise", "--dataset", "nosuch.npz"], "The data file nosuch.npz does not exist"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_no_library_is_imported(name, tmp_path):
    arguments, sentence = COMMANDS[name]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *arguments],
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(ROOT / "src")),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "imported\n")
    assert_one_sentence(done.stderr)
    assert sentence in done.stderr


def test_help_needs_no_data(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*PAIR, "--dataset", "nosuch.npz", "--help"]) == 0
    assert "--buffer_size" in capsys.readouterr().out


class TestRefuseAbsent:
    def test_what_is_there_passes(self, tmp_path):
        (tmp_path / "data.npz").touch()
        (tmp_path / "a,b").mkdir()
        known = ["digits", "image_folder", "drift_regression:abrupt", "continuum:CORe50", "hf:any", "w.py:make"]
        for name in (*known, "data.npz", str(tmp_path / "data.npz"), str(tmp_path / "a,b"), "package.module:make"):
            refuse_absent(name, tmp_path)

    @pytest.mark.parametrize("name", ["data.npz", "drift_regression:x", "no/such", "digitz", "a,b"])
    def test_what_is_not_there_is_refused(self, name, tmp_path):
        with pytest.raises((DataError, UnknownNameError)):
            refuse_absent(name, tmp_path)

    @pytest.mark.parametrize("name", ["u/one.png", "./u/one.png", "one.png"])
    def test_a_file_that_is_there_but_of_another_kind(self, name, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "u").mkdir()
        for file in ("u/one.png", "one.png"):
            (tmp_path / file).touch()
        with pytest.raises(DataError, match=r"is a file of a kind that is not read; give a folder.*\.npz.*\.parquet"):
            refuse_absent(name, tmp_path / "data")


@pytest.mark.parametrize("name", ["u/my.py", "./u/my.py", "my.py"])
def test_a_file_of_python_lacks_the_function(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "u").mkdir()
    (tmp_path / name).write_text("def make(data_dir, seed, image_size):\n    raise AssertionError\n")
    assert main([*PAIR, "--dataset", name]) == 2
    assert f"add a colon and what in it is the data set, as in {name}:make" in capsys.readouterr().err


SETTING = """
from dataclasses import dataclass

from redwood.settings import ClassIncrementalSetting


@dataclass
class Elsewhere(ClassIncrementalSetting):
    data_dir: str = "big"  # folder that data sets are read from and downloaded to
"""


def test_a_users_setting_may_read_data_from_another_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.py").write_text(SETTING)
    for number, name in enumerate("abab"):
        (tmp_path / "big" / "photos" / name).mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 40 * number).save(tmp_path / "big" / "photos" / name / f"{number}.png")
    arguments = ["--setting", "s.py:Elsewhere", "--method", "finetune", "--dataset", "photos", "--nb_tasks", "3"]
    assert main(arguments) == 2
    assert "--nb_tasks 3 is more than the 2 classes" in capsys.readouterr().err
