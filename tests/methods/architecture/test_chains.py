"""Which networks can be widened, and where."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from torch import nn

from redwood.core.errors import InvalidOptionError
from redwood.methods.architecture.chains import hidden_pairs, take_shapes
from redwood.methods.networks import build_network
from tests.methods.helpers import one_sentence
from tests.small_runs import NormalisedNetwork


def image_network(name):
    return build_network(name, Box(0, 255, (3, 32, 32), np.uint8), 10)


def shared():
    layer = nn.Linear(4, 4)
    return nn.Sequential(nn.Linear(4, 4), layer, nn.ReLU(), layer)


class Forked(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.second(self.first(x)) + x


class TestPairs:
    @pytest.mark.parametrize(("name", "units"), [("mlp", [256, 256]), ("simple_cnn", [32, 64, 128])])
    def test_ours(self, name, units):
        pairs = hidden_pairs(image_network(name))
        assert [pair.n_units for pair in pairs] == units
        assert all(first.after is second.layer for first, second in pairwise(pairs))

    @pytest.mark.parametrize(
        "network",
        [
            image_network("slim_resnet18"),
            image_network("resnet18"),
            NormalisedNetwork(),
            Forked(),
            shared(),
            nn.Sequential(nn.Linear(4, 2)),
            nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 2)),
            nn.Sequential(nn.Linear(4, 4), nn.Softmax(1), nn.Linear(4, 2)),
            nn.Sequential(nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3, groups=2)),
            nn.Sequential(nn.Conv2d(2, 4, 3), nn.Linear(4, 2)),
            nn.Sequential(nn.Linear(4, 4), nn.Flatten(), nn.Linear(12, 2)),
            nn.Sequential(nn.Linear(4, 4), nn.PReLU(4), nn.Linear(4, 2)),
        ],
    )
    def test_others_are_refused(self, network):
        with pytest.raises(InvalidOptionError, match=r"cannot be widened: choose mlp, simple_cnn, or") as caught:
            hidden_pairs(network)
        assert one_sentence(caught.value)


def test_a_chain_takes_the_shapes_of_weights():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 9, 4))
    wide = nn.Sequential(nn.Conv2d(1, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 9, 4))
    take_shapes(network, wide.state_dict())
    network.load_state_dict(wide.state_dict())
    x = torch.rand(3, 1, 5, 5)
    assert torch.equal(network(x), wide(x))
    assert (network[0].out_channels, network[3].in_features) == (5, 45)
