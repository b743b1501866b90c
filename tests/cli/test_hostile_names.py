"""Names that steer a terminal, or that no file can hold."""

import io
import os

import numpy as np
import pytest
from PIL import Image
from rich.table import Table
from rich.text import Text

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
        from redwood.cli import main

        folder = tmp_path / f"data{HOSTILE}"
        images(folder, [b"one", HOSTILE.encode()])
        arguments = [*RUN, str(folder), "--table", "markdown", "--seeds", "2", "--launcher", "here"]
        assert main([*arguments, "--run_dir", str(tmp_path / f"run{HOSTILE}")]) == 0
        assert main(["--resume", str(tmp_path / f"none{HOSTILE}")]) == 2
        out, err = capfd.readouterr()
        for text in (out, err):
            assert not {"\x1b", "\x07", "\x9b"} & set(text)
            assert "?[2J?]0;owned" in text
        written = next((tmp_path / f"run{HOSTILE}").glob("*.md")).read_text()
        assert "\x1b" not in written
