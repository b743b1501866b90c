"""`setting.apply` over two workers; starting them takes seconds, so everything else is tested on workers that last."""

import pytest
import torch

from redwood.methods import get_method
from redwood.methods.rehearsal import Rehearsal
from redwood.settings.errors import InvalidOptionError, RedwoodError
from redwood.settings.launch import run_in_workers
from redwood.settings.run import Run
from tests.runs import FixedRule, comparable, run_here, small_setting

SOURCE = """
from dataclasses import dataclass

from redwood.methods.rehearsal import Rehearsal
from redwood.settings.errors import RedwoodError

@dataclass
class Mine(Rehearsal):
    "Rehearsal that may refuse to finish."

    fails: bool = False

    def on_finish(self, results):
        super().on_finish(results)
        if self.fails:
            raise RedwoodError("Nothing fits; use something else.")
"""


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    return get_method(f"{path}:Mine")


def rehearse():
    method = Rehearsal()
    return run_here(small_setting("class_incremental", workers=2), method), list(method.network.parameters())


class TestApplyWithTwoWorkers:
    def test_a_method_from_a_file_is_trained_and_comes_back(self, mine, two_workers):
        method = mine()
        setting = small_setting("class_incremental", workers=2)
        results = setting.apply(method, quiet=True, accelerator="cpu")
        expected, weights = two_workers.run(rehearse)[0]
        assert results.accuracy_matrix == expected.accuracy_matrix
        assert comparable(results)["cost"] == comparable(expected)["cost"]
        assert all(map(torch.equal, method.network.parameters(), weights))
        assert setting.open_stream().evaluate(method).accuracy == results.accuracy_matrix[-1]

    def test_an_error_of_ours_arrives_as_one_sentence(self, mine):
        setting = small_setting("class_incremental", workers=2, nb_tasks=1, passes=1)
        with pytest.raises(RedwoodError) as caught:
            setting.apply(mine(fails=True), quiet=True, accelerator="cpu")
        assert str(caught.value) == "Nothing fits; use something else."


class TestLaunchers:
    def test_several_machines_need_one(self):
        with pytest.raises(InvalidOptionError, match="start them with torchrun or srun"):
            run_in_workers(small_setting("traditional", workers=2), FixedRule(), Run(nodes=2, accelerator="cpu"))

    def test_another_number_of_processes(self, monkeypatch):
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "any")
        monkeypatch.setenv("WORLD_SIZE", "3")
        with pytest.raises(InvalidOptionError, match="The launcher started 3 processes, but --workers is 2"):
            run_in_workers(small_setting("traditional", workers=2), FixedRule(), Run(accelerator="cpu"))
