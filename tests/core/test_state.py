import pytest
import torch
from torch import nn

from redwood.core.errors import InvalidOptionError
from redwood.core.state import Component, Stateful, copy_state, count_bytes, load_state

CPU = torch.device("cpu")


class Counter:
    nbytes = 12

    def __init__(self):
        self.n = 0

    def state_dict(self):
        return {"n": self.n}

    def load_state_dict(self, state):
        self.n = state["n"]


def test_copies_follow_no_change():
    tensor, layer = torch.zeros(2), nn.Linear(2, 1)
    optimizer = torch.optim.SGD(layer.parameters(), 0.1, momentum=0.9)
    value = {"tensor": tensor, "list": [tensor, (tensor, 1)], "layer": layer, "optimizer": optimizer, "none": None}
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    state = copy_state(value)
    weight, momentum = layer.weight.detach().clone(), optimizer.state[layer.weight]["momentum_buffer"].clone()
    tensor += 1
    optimizer.step()
    assert state["tensor"].tolist() == state["list"][0].tolist() == state["list"][1][0].tolist() == [0, 0]
    assert torch.equal(state["layer"]["weight"], weight)
    assert torch.equal(state["optimizer"]["state"][0]["momentum_buffer"], momentum)
    assert state["none"] is None


def test_loading_copies_and_leaves_components_where_they_are():
    counter, saved = (
        Counter(),
        {"counter": {"n": 3}, "rows": [torch.zeros(2)], "later": torch.ones(1), "pair": (1, None)},
    )
    loaded = load_state({"counter": counter, "rows": [], "later": None, "pair": (0, 0)}, saved, CPU)
    assert loaded["counter"] is counter
    assert counter.n == 3
    loaded["rows"][0] += 1
    assert saved["rows"][0].tolist() == [0, 0]
    assert loaded["later"].tolist() == [1]
    assert loaded["pair"] == (1, None)


def test_tensors_go_where_their_places_are():
    there = torch.device("meta")
    saved = {"known": torch.zeros(2), "new": torch.zeros(2), "number": torch.tensor(1.0)}
    loaded = load_state({"known": torch.zeros(3)}, saved, there)
    assert {name: value.device.type for name, value in loaded.items()} == {
        "known": "cpu",
        "new": "meta",
        "number": "cpu",
    }


def test_bytes_of_all_kinds():
    layer = nn.BatchNorm1d(2)  # two weights of 2, two statistics of 2, and a count of 8 bytes
    optimizer = torch.optim.SGD(layer.parameters(), 0.1, momentum=0.9)
    layer(torch.randn(4, 2)).sum().backward()
    optimizer.step()
    assert count_bytes(layer) == 4 * 8 + 8
    assert count_bytes(optimizer) == 2 * 8
    assert count_bytes({"a": [torch.zeros(3), None, 7, "text"], "b": (Counter(),)}) == 12 + 12


def test_components_save_and_load():
    assert isinstance(nn.Linear(1, 1), Component)
    assert isinstance(Counter(), Component)
    assert not isinstance(torch.zeros(1), Component)


def test_declared_attributes_are_the_state():
    first, second = Stateful(), Stateful()
    for one in (first, second):
        assert one.add_state("seen", torch.zeros(3), buffer=True) is one.seen
        one.add_state("steps", 0)
    first.seen += 2
    first.steps, first.other = 5, "not declared"
    second.load_state_dict(first.state_dict())
    assert (second.seen.tolist(), second.steps, second.nbytes) == ([2.0] * 3, 5, 12)
    assert not hasattr(second, "other")
    with pytest.raises(InvalidOptionError, match="two of its classes keep a state called 'steps'"):
        first.add_state("steps", 1)
