"""The classes that the names of a pair stand for."""

from redwood.experiments.command_line.pairs import Pair

METHOD = """
from dataclasses import dataclass
from redwood.methods.baselines import Finetune

@dataclass
class Own(Finetune):
    number: int = {number}
"""


def test_a_file_is_that_of_the_current_folder(tmp_path, monkeypatch):
    numbers = []
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "own.py").write_text(METHOD.format(number=number))
        monkeypatch.chdir(folder)
        _, method = Pair("class_incremental", "own.py:Own").load()
        numbers.append(method.number)
    assert numbers == [1, 2]
