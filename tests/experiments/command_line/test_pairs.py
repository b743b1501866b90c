"""The classes that the names of a pair stand for."""

from redwood.experiments.command_line.pairs import Pair, where_it_is

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


class TestWhereAnOptionIs:
    def told(self, option, *methods, setting="class_incremental"):
        return where_it_is([Pair(setting, method) for method in methods], option)

    def test_a_method_without_a_buffer_can_be_joined_to_one(self):
        said = self.told("buffer_size", "ewc")
        assert said.startswith("as ewc keeps no buffer, write --method ewc+rehearsal, or choose a method that has it (")
        assert "keeps no buffer" not in self.told("buffer_tier", "just_in_time") + self.told("ewc_lambda", "lwf")

    def test_methods_that_cannot_be_joined_are_only_named(self):
        said = self.told("buffer_size", "ppo", setting="incremental_rl")
        assert said == "as ppo keeps no buffer, choose a method that has it (dqn, sac, td3), or leave it out."
        assert self.told("ewc_lambda", "lwf", "mas") == "choose a method that has it (ewc), or leave it out."

    def test_of_no_method_nothing_is_said(self):
        assert self.told("nonsense", "ewc") == "" == self.told("ewc_lambda", "rehearsal", setting="continual")
