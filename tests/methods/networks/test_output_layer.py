import gymnasium
import numpy as np
import pytest
import torch
from torch import nn

from redwood.core.errors import InvalidOptionError
from redwood.methods.baselines import Finetune
from redwood.methods.networks.last_layer import output_layer
from tests.methods.helpers import configured, one_sentence
from tests.small_runs import NormalisedNetwork

SPACE = gymnasium.spaces.Box(0, 16, (64,), dtype=np.uint8)


class Floats(nn.Module):
    def forward(self, x):
        return x.float()


def test_it_is_the_layer_whose_outputs_are_the_networks():
    network = configured(Finetune()).network
    assert output_layer(network, SPACE, "x") is network.head
    normalised = NormalisedNetwork()
    assert output_layer(normalised, SPACE, "x") is normalised[-1]
    assert normalised.training
    assert not normalised[-1]._forward_pre_hooks


@pytest.mark.parametrize(
    "last",
    [
        (nn.Linear(64, 10), nn.LogSoftmax(1)),
        (nn.Linear(64, 10), nn.ReLU()),
        (nn.Linear(64, 10, bias=False),),
        (nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 10, 8), nn.Flatten()),
    ],
)
def test_networks_that_end_in_anything_else(last):
    torch.manual_seed(0)
    with pytest.raises(InvalidOptionError, match="--model Sequential does not end in a linear layer") as error:
        output_layer(nn.Sequential(Floats(), *last), SPACE, "wa aligns")
    assert one_sentence(error.value)
