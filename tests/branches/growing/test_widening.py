"""A widened network computes what it did, and its optimizer goes on as if it had always been so wide."""

from copy import deepcopy
from itertools import pairwise

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from torch import nn
from torch.nn import functional as F

from redwood.branches.growing.widening import WIDENINGS, carry_over_state, widen
from redwood.methods.architecture.chains import hidden_pairs
from redwood.methods.networks import build_network

SPACE = Box(0, 255, (2, 12, 12), np.uint8)
NEW = 7


def own():
    """A chain of all pairs: Conv2d -> Conv2d, Conv2d -> Flatten -> Linear, Linear -> Linear; some without biases."""
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, bias=False),
        nn.Tanh(),
        nn.Conv2d(4, 3, 3, stride=2),
        nn.GELU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(3 * 4, 6),
        nn.ReLU(),
        nn.Linear(6, 5, bias=False),
        nn.Sigmoid(),
        nn.Linear(5, 3),
    )


NETWORKS = {
    "mlp": lambda: build_network("mlp", SPACE, 3),
    "simple_cnn": lambda: build_network("simple_cnn", SPACE, 3),
    "own": own,
}


def made(name):
    torch.manual_seed(0)
    return NETWORKS[name]().double() if name == "own" else NETWORKS[name]()


def samples(network, seed=1):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 256, (16, 2, 12, 12), generator=generator).to(torch.uint8)
    return x if hasattr(network, "scale") else x.double() / 128 - 1


def grow(network, mode, noise=0.0, optimizer=None):
    random, changes = torch.Generator().manual_seed(2), []
    for pair in hidden_pairs(network):
        changes.append(widen(pair, WIDENINGS[mode](pair.n_units, NEW, random), random, noise))
        if optimizer is not None:
            carry_over_state(optimizer, changes[-1])
    return changes


def largest(difference):
    return float(difference.detach().abs().max())


def loss_of(network, seed):
    y = torch.arange(16) % 3
    return F.cross_entropy(network(samples(network, seed)), y)


def stepped(network, optimizer, seed):
    optimizer.zero_grad()
    loss_of(network, seed).backward()
    optimizer.step()


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("mode", WIDENINGS)
class TestFunction:
    def test_it_is_preserved(self, mode, name):
        network = made(name)
        x = samples(network)
        before, widths = network(x), [pair.n_units for pair in hidden_pairs(network)]
        for _ in range(2):
            grow(network, mode)
        assert largest(network(x) - before) <= 1e-6
        assert [pair.n_units for pair in hidden_pairs(network)] == [width + 2 * NEW for width in widths]

    def test_gradients_are_those_that_are_carried_over(self, mode, name):
        """Of new units nothing is known: their incoming weights get no gradient, their outgoing ones start at zero."""
        for number in range(len(hidden_pairs(made(name)))):
            network, random = made(name), torch.Generator().manual_seed(2)
            loss_of(network, 1).backward()
            pair = hidden_pairs(network)[number]
            units = WIDENINGS[mode](pair.n_units, NEW, random)
            changes = widen(pair, units, random)
            loss_of(network, 1).backward()
            for change in changes:
                known = change.carry_over(change.old.grad, degree=1)
                grad = change.new.grad.clone()
                if change.dim == 1:  # what the next layer reads of new units
                    grad = units.carry_over(torch.ones_like(change.old), dim=1, power=0) * grad
                torch.testing.assert_close(grad, known, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.SGD(p, 0.1, momentum=0.9),
        lambda p: torch.optim.Adam(p, 0.01),
        lambda p: torch.optim.Adam(p, 0.01, amsgrad=True),
    ],
    ids=["momentum", "adam", "amsgrad"],
)
def test_the_next_step_of_old_units_is_the_one_without_widening(make, name):
    network = made(name)
    optimizer = make(network.parameters())
    for seed in range(3):
        stepped(network, optimizer, seed)
    wide = deepcopy(network)
    wide_optimizer = make(wide.parameters())
    wide_optimizer.load_state_dict(deepcopy(optimizer.state_dict()))
    grow(wide, "zero_outgoing", optimizer=wide_optimizer)
    assert {id(p) for group in wide_optimizer.param_groups for p in group["params"]} == set(map(id, wide.parameters()))
    stepped(network, optimizer, 3)
    stepped(wide, wide_optimizer, 3)
    for (key, old), new in zip(network.named_parameters(), wide.parameters(), strict=True):
        assert new.shape != old.shape or key.endswith("bias")
        block = new if new.shape == old.shape else old_block(new, old)
        torch.testing.assert_close(block, old, atol=1e-6, rtol=1e-5)


def old_block(new, old):
    """The old units come first; of flattened channels each has several inputs, next to each other."""
    return new[tuple(slice(n) for n in old.shape)]


class TestUnits:
    def test_copies_and_their_counts(self):
        units = WIDENINGS["net2wider"](3, 50, torch.Generator().manual_seed(0))
        assert units.source[:3].tolist() == [0, 1, 2]
        assert len(units.source) == 53
        assert all(int((units.source == unit).sum()) == count for unit, count in pairs_of(units))
        assert set(units.source.tolist()) == {0, 1, 2}

    def test_noise_tells_copies_apart_and_hardly_changes_the_function(self):
        network = made("mlp")
        x = samples(network)
        before = network(x).detach()
        layer = hidden_pairs(network)[0].layer
        grow(network, "net2wider", noise=0.01)
        rows = layer.weight.detach()
        assert not any(torch.equal(a, b) for a, b in pairwise(rows))
        assert 1e-6 < largest(network(x) - before) < 0.1

    def test_fresh_units_are_drawn_as_torch_draws_them(self):
        network = made("mlp")
        layer = hidden_pairs(network)[1].layer
        grow(network, "zero_outgoing")
        fresh = layer.weight.detach()[256:]
        bound = (256 + NEW) ** -0.5
        assert float(fresh.abs().max()) <= bound
        assert float(fresh.std()) == pytest.approx(bound / 3**0.5, rel=0.05)
        assert layer.bias is not None
        assert bool(layer.bias[256:].any())

    def test_frozen_layers_stay_frozen(self):
        network = made("mlp")
        network.features[1].requires_grad_(False)
        grow(network, "zero_outgoing")
        assert not network.features[1].weight.requires_grad
        assert network.features[3].weight.requires_grad


def pairs_of(units):
    return zip(units.source.tolist(), units.copies.tolist(), strict=True)
