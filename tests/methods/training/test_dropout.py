"""Dropout that is hung on a network's activations."""

import pickle
from copy import deepcopy

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from torch import nn

from redwood.core.errors import InvalidOptionError
from redwood.methods.baselines import Finetune
from redwood.methods.networks import build_network
from redwood.methods.training.layers import set_dropout
from tests.methods.helpers import batch_of, configured, step_of
from tests.methods.training.test_step import curve, explicit

IMAGES = Box(0, 255, (3, 32, 32), np.uint8)
X = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    return build_network(name, IMAGES, 10)


def scores(net: nn.Module) -> torch.Tensor:
    torch.manual_seed(1)
    with torch.no_grad():
        result: torch.Tensor = net(X)
    return result


class TestSetDropout:
    @pytest.mark.parametrize("name", ["mlp", "simple_cnn", "slim_resnet18", "mobilenet_v2"])
    def test_only_training_changes_and_no_name(self, name):
        plain, dropped = network(name), network(name)
        set_dropout(dropped, 0.5)
        assert dropped.state_dict().keys() == plain.state_dict().keys()
        assert torch.equal(scores(plain.eval()), scores(dropped.eval()))
        assert not torch.allclose(scores(plain.train()), scores(dropped.train()))

    def test_every_activation_is_dropped_by_its_share_and_scaled(self):
        activations = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Identity(), nn.Tanh())
        set_dropout(activations, 0.25)
        ones = torch.ones(40_000)
        out = activations[1](ones)
        assert torch.equal(out, (out > 0) / 0.75)
        assert float((out == 0).float().mean()) == pytest.approx(0.25, abs=0.02)
        assert (activations[3](ones) == 0).any()
        assert torch.equal(activations[2](ones), ones)

    def test_the_blocks_of_the_residual_network_drop(self):
        net = network("slim_resnet18")
        block = net.features[3]  # type: ignore[union-attr,index]
        x = torch.rand(2, 20, 8, 8)
        set_dropout(net, 0.9)
        assert float((block(x) == 0).float().mean()) > 0.8

    def test_setting_it_again_takes_the_place_of_what_was_set(self):
        net = network("mlp")
        set_dropout(net, 0.5)
        set_dropout(net, 0.25)
        assert [len(part._forward_hooks) for part in net.modules() if isinstance(part, nn.ReLU)] == [1, 1]
        set_dropout(net, 0.0)
        assert torch.equal(scores(net.train()), scores(net.eval()))

    def test_copies_drop_alike_and_can_be_pickled(self):
        net = network("mlp").train()
        set_dropout(net, 0.5)
        for other in (deepcopy(net), pickle.loads(pickle.dumps(net))):
            assert torch.equal(scores(net), scores(other))
            assert torch.equal(scores(deepcopy(other).eval()), scores(deepcopy(net).eval()))

    def test_a_network_without_activations_is_refused(self):
        with pytest.raises(InvalidOptionError, match="needs a network whose activations are modules"):
            set_dropout(nn.Sequential(nn.Linear(2, 2)), 0.1)
        set_dropout(nn.Sequential(nn.Linear(2, 2)), 0.0)

    @pytest.mark.parametrize("p", [-0.1, 1.0, float("nan")])
    def test_values_out_of_range(self, p):
        with pytest.raises(InvalidOptionError, match=r"--dropout .* has to be at least 0 and less than 1"):
            Finetune(dropout=p)


class TestMethods:
    def test_training_drops_and_predictions_do_not(self):
        method = configured(Finetune(dropout=0.5))
        batch = batch_of(0, 32)
        method.network.train()
        assert not torch.equal(method.loss(step_of(batch)), method.loss(step_of(batch)))
        assert torch.equal(method.predict(batch.x, None), method.predict(batch.x, None))
        plain = configured(Finetune())
        assert torch.equal(method.predict(batch.x, None), plain.predict(batch.x, None))

    def test_online_accuracy_is_that_of_whole_networks(self):
        """Not read off the forward pass of the loss, which drops."""
        options = {"dropout": 0.5, "model": "mlp"}
        assert curve(Finetune(**options), "traditional") == curve(explicit(Finetune)(**options), "traditional")

    def test_a_teacher_answers_whole(self):
        method = configured(Finetune(dropout=0.5))
        teacher = deepcopy(method.network.train()).requires_grad_(False).eval()
        x = batch_of(0, 16).x
        assert torch.equal(teacher(x), method.predict(x, None))
        assert not torch.equal(method.network(x), teacher(x))
