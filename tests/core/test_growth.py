import torch
from torch import nn

from redwood.core.growth import grow, grow_optimizer, sizes_of


def network(n_outputs, width=3):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, width), nn.Linear(width, n_outputs))


def test_a_larger_network_has_what_was_learned_in_its_first_outputs():
    small, large = network(3), network(5)
    saved = {name: value + 1 for name, value in small.state_dict().items()}
    grown = grow(large, small, saved, sizes_of(large, small))
    assert torch.equal(grown["0.weight"], saved["0.weight"])
    assert torch.equal(grown["1.weight"][:3], saved["1.weight"])
    assert torch.equal(grown["1.weight"][3:], large.state_dict()["1.weight"][3:])


def test_what_has_grown_in_training_grows_further():
    """The small run began with 3 entries, and has learned 5; the large one begins with 4, one more."""
    grown = grow({"rows": torch.zeros(4)}, {"rows": torch.zeros(3)}, {"rows": torch.arange(5.0)}, {})
    assert grown["rows"].tolist() == [0, 1, 2, 3, 4, 0]


def test_what_belongs_to_a_weight_grows_by_its_name_not_by_its_shape():
    small, large = network(3), network(5)  # hidden layer and output layer have the same bias at first
    importance = {name: torch.ones_like(value) for name, value in small.state_dict().items()}
    grown = grow(None, None, {"importance": importance, "y": torch.arange(3)}, sizes_of(large, small))
    assert {name: tuple(value.shape) for name, value in grown["importance"].items()} == {
        "0.weight": (3, 2),
        "0.bias": (3,),
        "1.weight": (5, 3),
        "1.bias": (5,),
    }
    assert grown["importance"]["1.bias"].tolist() == [1, 1, 1, 0, 0]
    assert grown["y"].tolist() == [0, 1, 2]


def test_a_part_that_a_new_network_lacks_grows_by_its_shape_where_only_outputs_have_it():
    wide, narrow = (sizes_of(network(5, width=width), network(3, width=width)) for width in (4, 3))
    assert grow(None, None, {"laterals.1.weight": torch.ones(3, 4)}, wide)["laterals.1.weight"].shape == (5, 4)
    assert grow(None, None, {"laterals.1.bias": torch.ones(3)}, narrow)["laterals.1.bias"].shape == (5,)
    assert grow(None, None, {"other.2.bias": torch.ones(3)}, narrow)["other.2.bias"].shape == (3,)


def test_a_mask_of_outputs_grows_by_its_shape():
    small, large = network(3, width=4), network(5, width=4)
    grown = grow(None, None, {"known": torch.ones(3, dtype=torch.bool)}, sizes_of(large, small))
    assert grown["known"].tolist() == [True, True, True, False, False]


def test_momenta_grow_with_their_weights():
    small, large = network(3), network(5)
    optimizer = torch.optim.Adam(small.parameters())
    small(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    groups = [[{"params": list(one.parameters())}] for one in (large, small)]
    state = grow_optimizer(*groups, optimizer.state_dict())
    other = torch.optim.Adam(large.parameters())
    other.load_state_dict(state)
    large(torch.ones(1, 2)).sum().backward()
    other.step()
    assert [tuple(own["exp_avg"].shape) for own in state["state"].values()] == [(3, 2), (3,), (5, 3), (5,)]
