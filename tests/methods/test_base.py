from dataclasses import dataclass

import pytest
import torch

from redwood.core.errors import InvalidOptionError
from redwood.methods import Composition, compose
from redwood.methods.baselines import Finetune
from redwood.methods.lightning import LightningMethod
from tests.methods.helpers import configured, one_sentence


@dataclass
class Noting(Finetune):
    """Keeps notes of each task."""

    def configure(self, setting):
        super().configure(setting)
        self.total = self.add_state("total", torch.zeros(2, dtype=torch.float64))
        self.add_state("notes", {"tasks": []}, buffer=True)
        self.add_state("latest", None, buffer=True)

    def on_task_end(self, task_id):
        super().on_task_end(task_id)
        self.total += 1
        self.notes["tasks"].append(torch.full((3,), float(task_id)))
        self.latest = torch.tensor([task_id])


@dataclass
class AlsoNoting(LightningMethod):
    """Has notes of its own."""

    composition = Composition.ANYWHERE

    def configure(self, setting):
        super().configure(setting)
        self.add_state("notes", 0)


def test_state_is_declared_saved_and_loaded():
    method = configured(Noting())
    method.on_task_end(0)
    state = method.state_dict()
    method.on_task_end(1)
    other = configured(Noting())
    other.load_state_dict(state)
    other.total += 1
    assert state["total"].tolist() == [1, 1]
    assert state["total"].dtype == torch.float64
    assert [note.tolist() for note in other.notes["tasks"]] == [[0, 0, 0]]
    assert other.latest.tolist() == [0]
    assert {"network", "phase_count", "heads", "kept", "flops"} <= state.keys()


def test_none_and_empty_values_survive_a_round_trip():
    other = configured(Noting())
    other.load_state_dict(configured(Noting()).state_dict())
    assert other.latest is None
    assert other.notes == {"tasks": []}


def test_only_declared_buffers_count():
    method = configured(Noting())
    assert method.costs()["buffer_bytes"] == 0
    method.on_task_end(0)
    assert method.costs()["buffer_bytes"] == 3 * 4 + 8


def test_methods_share_no_state_when_run_again():
    method = configured(Noting())
    method.on_task_end(0)
    assert configured(method).latest is None


def test_two_states_of_one_name_are_told():
    with pytest.raises(InvalidOptionError, match="state called 'notes'") as told:
        configured(compose(AlsoNoting, Noting)())
    assert one_sentence(told.value)
