from copy import deepcopy

import gymnasium
import numpy as np
import pytest
import torch
from torch import nn

from redwood.core.errors import InvalidOptionError
from redwood.methods.baselines import Finetune
from redwood.methods.networks.last_layer import features_of, output_layer
from tests.methods.helpers import configured, one_sentence
from tests.samples import few_digits
from tests.small_runs import NormalisedNetwork


def hooks(network):
    return [hook for part in network.modules() for hook in part._forward_pre_hooks.values()]


class TestFeatures:
    def test_they_are_what_the_last_layer_is_given(self):
        network, x = configured(Finetune()).network, few_digits(n_train=50).x
        features = features_of(network, x)
        torch.testing.assert_close(features, network.features(network.scale(x)).detach())
        torch.testing.assert_close(network.head(features), network(x))
        assert (features.shape, features.dtype) == ((50, 256), torch.float32)

    @pytest.mark.parametrize("n", [1, 256, 257, 600])
    def test_any_number_of_samples(self, n):
        network, x = configured(Finetune()).network, few_digits(n_train=600).x[:n]
        expected = torch.cat([network.features(network.scale(one[None])) for one in x]).detach()
        torch.testing.assert_close(features_of(network, x), expected)

    def test_in_evaluation_mode_and_without_a_trace(self):
        torch.manual_seed(0)
        network, x = NormalisedNetwork(), few_digits().x
        network[4].eval()
        state, modes = deepcopy(network.state_dict()), [part.training for part in network.modules()]
        assert torch.equal(features_of(network, x), features_of(network, x))
        assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
        assert [part.training for part in network.modules()] == modes
        assert hooks(network) == []
        assert not features_of(network, x).requires_grad

    def test_no_hook_is_left_where_the_network_fails(self):
        network = NormalisedNetwork()
        with pytest.raises(RuntimeError):
            features_of(network, torch.zeros(2, 3))
        assert hooks(network) == []
        assert network.training

    def test_a_network_without_a_linear_layer(self):
        with pytest.raises(InvalidOptionError, match="--model Sequential has no linear layer") as error:
            features_of(nn.Sequential(nn.Conv2d(1, 10, 8), nn.Flatten()), torch.zeros(2, 1, 8, 8))
        assert one_sentence(error.value)


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
        (nn.Linear(64, 10), nn.Hardtanh()),
        (nn.Linear(64, 10, bias=False),),
        (nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 10, 8), nn.Flatten()),
    ],
)
def test_networks_that_end_in_anything_else(last):
    for parameter in last[0].parameters():
        nn.init.zeros_(parameter)  # so that the outputs for zeros do not tell
    with pytest.raises(InvalidOptionError, match="--model Sequential does not end in a linear layer") as error:
        output_layer(nn.Sequential(Floats(), *last), SPACE, "wa aligns")
    assert one_sentence(error.value)


def test_a_last_layer_that_is_not_used_gives_no_features():
    class RowsAlone(nn.Module):
        """Multiplies with the rows of a layer, without calling it."""

        def __init__(self):
            super().__init__()
            self.rows = nn.Linear(64, 10)

        def forward(self, x):
            return x.flatten(1).float() @ self.rows.weight.T

    with pytest.raises(InvalidOptionError, match="A RowsAlone does not use its last linear layer as such") as error:
        features_of(RowsAlone(), torch.zeros(3, 1, 8, 8))
    assert one_sentence(error.value)
