"""States of agents with other networks are told in a sentence, before a step fails on them."""

import pytest
import torch

from redwood.core.errors import DataError
from tests.methods.agents.parts import trained, untrained

# Where each agent keeps tensors in the shapes of its network.
PLACES = [
    ("ppo", ["algorithm_state", "parameters", "policy"]),
    ("ppo+l2", ["curvature"]),
    ("ppo+ewc", ["minimum"]),
    ("ppo+packnet", ["owner"]),
    ("ppo+packnet", ["own_values", 0]),
]


@pytest.mark.parametrize(("name", "place"), PLACES)
def test_a_state_of_another_network_is_told(name, place):
    part = state = trained(name).state_dict()
    for key in place:
        part = part[key]
    weight, value = next((weight, value) for weight, value in part.items() if value.dim() > 0)
    part[weight] = torch.zeros(2, *value.shape[1:], dtype=value.dtype)
    with pytest.raises(DataError, match=rf"is of another network: {weight} is \(2, ?.*\) in the checkpoint") as error:
        untrained(name).load_state_dict(state)
    assert "\n" not in str(error.value)
