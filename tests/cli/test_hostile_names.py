"""Names that steer a terminal, or that no file can hold."""

import csv
import io
import json
import os

import numpy as np
import pytest
from PIL import Image
from rich.table import Table
from rich.text import Text

from redwood.cli import main
from redwood.core.printable import printable
from redwood.engine.terminal import Terminal
from tests.cli.foreign_files import call

HOSTILE = "\x1b[2J\x1b]0;owned\x07\x9b1A\u202e"
SHOWN = "?[2J?]0;owned??1A?"


def test_what_steers_a_terminal_becomes_question_marks():
    assert printable(f"a\tb\n{HOSTILE}é猫\udcff\r") == f"a\tb\n{SHOWN}é猫??"


@pytest.mark.parametrize("wrap", [str, Text, lambda text: Text(text, style="bold red")])
def test_a_terminal_shows_its_own_colours_alone(wrap):
    table = Table("name")
    table.add_row(wrap(f"cat{HOSTILE}"))
    for shown in (table, wrap(f"cat{HOSTILE}")):
        plain, colours = (
            Terminal(file=io.StringIO(), force_terminal=colourful, color_system="standard" if colourful else None)
            for colourful in (False, True)
        )
        for terminal in (plain, colours):
            terminal.print(shown, markup=False, highlight=False)
        text = plain.file.getvalue()
        assert "cat?[2J?]0;owned" in text and not set("\x1b\x07\x9b\u202e") & set(text)
        assert "\x1b[2J" not in colours.file.getvalue() and "cat?[2J" in colours.file.getvalue()


def images(folder, classes):
    """A folder of this name, with six images in a folder for each class."""
    for name in classes:
        os.makedirs(os.path.join(os.fsencode(folder), name))
        for number in range(6):
            path = os.path.join(os.fsencode(folder), name, b"%d.png" % number)
            Image.fromarray(np.full((8, 8, 3), 40 * number, np.uint8)).save(path.decode("utf-8", "surrogateescape"))


RUN = ["--setting", "traditional", "--method", "random", "--passes", "1", "--dataset"]


class TestFolders:
    @pytest.mark.parametrize(("folder", "name"), [("data", b"caf\xe9"), ("caf\udce9", b"two")])
    def test_names_that_are_no_utf8_are_refused_at_loading(self, folder, name, tmp_path):
        images(tmp_path / folder, [b"one", name])
        code, said = call([*RUN, str(tmp_path / folder), "--run_dir", str(tmp_path / "run")])
        assert code == 2 and said.count("\n") == 1
        assert r"'caf\udce9', is no UTF-8; rename its folder" in said

    def test_others_reach_the_terminal_as_question_marks(self, tmp_path, capfd):
        """In the table, in the paths, and in the sentence of an error."""
        folder = tmp_path / f"data{HOSTILE}"
        images(folder, [b"one", HOSTILE.encode()])
        arguments = [*RUN, str(folder), "--table", "markdown", "--seeds", "2", "--launcher", "here"]
        assert main([*arguments, "--run_dir", str(tmp_path / f"run{HOSTILE}")]) == 0
        assert main(["resume", str(tmp_path / f"none{HOSTILE}")]) == 2
        out, err = capfd.readouterr()
        for text in (out, err):
            assert not {"\x1b", "\x07", "\x9b"} & set(text)
            assert "?[2J?]0;owned" in text
        written = next((tmp_path / f"run{HOSTILE}").glob("*.md")).read_text()
        assert "\x1b" not in written


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder of all files that commands write of a run whose folders and classes have such names."""
    folder = tmp_path_factory.mktemp("named")
    data, run = folder / f"data{HOSTILE}", folder / "run"
    images(data, [b"one", f"two{HOSTILE}".encode()])
    pair = ["--setting", "task_incremental", "--method", "finetune", "--nb_tasks", "2", "--passes", "1"]
    given = [*pair, "--dataset", str(data), "--accelerator", "cpu", "--quiet"]
    for command in (
        [*given, "--run_dir", str(run), "--logger", "tensorboard"],
        [*given, "--run_dir", str(folder / "several"), "--seeds", "2", "--launcher", "here", "--table", "latex"],
        [
            "predict",
            str(run),
            "--dataset",
            str(data),
            "--out",
            str(folder / "out.csv"),
            "--scores",
            "--task_id",
            "0",
        ],
        ["export", str(run), "--format", "safetensors", "--out", str(folder / "exported")],
        ["report", str(folder / "several"), "--out", str(folder / "several.html")],
    ):
        assert main(command) == 0
    return folder


class TestFiles:
    """A name leaves redwood by one way for each kind of file: JSON keeps it, and all else can be shown."""

    @pytest.mark.slow
    def test_none_holds_what_steers_a_terminal(self, written):
        binary = (".png", ".pt", ".safetensors", ".ckpt")
        paths = [
            path
            for path in written.rglob("*")
            if path.is_file() and not path.is_relative_to(written / f"data{HOSTILE}")
        ]
        texts = {
            path: path.read_text() for path in paths if path.suffix not in binary and "events.out" not in path.name
        }
        names = {path.name for path in texts}
        assert names >= {
            "out.csv",
            "metrics.csv",
            "results.json",
            "labels.json",
            "README.md",
            "report.html",
            "several.html",
        }
        for path, text in texts.items():
            assert not set("\x1b\x07\x9b\u202e") & set(text), path

    def test_predictions_show_them(self, written):
        with (written / "out.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        shown = printable(f"two{HOSTILE}")
        assert {row["sample"].split("/")[0] for row in rows} == {"one", shown}
        assert [name for name in rows[0] if name.startswith("score of")] == ["score of one", f"score of {shown}"]

    def test_json_keeps_them(self, written):
        for path, key in (("exported/labels.json", "class_names"), ("run/results.json", "class_names")):
            assert json.loads((written / path).read_text())[key] == ["one", f"two{HOSTILE}"]
