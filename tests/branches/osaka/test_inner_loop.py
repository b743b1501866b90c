import pytest
import torch
from torch import nn
from torch.nn import functional as F

from redwood.branches.osaka.inner_loop import MetaNetwork


def network(step_size=0.3, adapted=("0.weight", "0.bias", "2.weight", "2.bias")):
    torch.manual_seed(0)
    return MetaNetwork(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double(), adapted, step_size)


X, Y = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)), torch.arange(6) % 2
X_QUERY, Y_QUERY = X.flip(0) * 0.7, 1 - Y


def by_hand(meta, steps):
    """Fast weights by torch.autograd, with their graph: parameters and step sizes in the order of the body."""
    weights, sizes = list(meta.body.parameters()), list(meta.step_sizes)
    for _ in range(steps):
        w1, b1, w2, b2 = weights
        loss = F.cross_entropy(torch.tanh(X @ w1.T + b1) @ w2.T + b2, Y)
        gradients = torch.autograd.grad(loss, weights, create_graph=True)
        weights = [w - s * g for w, s, g in zip(weights, sizes, gradients, strict=True)]
    return weights


@pytest.mark.parametrize("steps", [1, 3])
def test_fast_weights_are_gradient_steps(steps):
    meta = network()
    fast = meta.adapt(meta.slow_weights(), X, Y, steps=steps)
    for found, expected in zip(fast.values(), by_hand(meta, steps), strict=True):
        torch.testing.assert_close(found, expected)


def test_the_second_order_gradient_goes_through_the_steps():
    meta = network()
    fast = meta.adapt(meta.slow_weights(), X, Y, steps=2, second_order=True)
    meta.loss(fast, X_QUERY, Y_QUERY).backward()
    w1, b1, w2, b2 = by_hand(meta, 2)
    loss = F.cross_entropy(torch.tanh(X_QUERY @ w1.T + b1) @ w2.T + b2, Y_QUERY)
    for weights, expected in zip(meta.parameters(), torch.autograd.grad(loss, list(meta.parameters())), strict=True):
        torch.testing.assert_close(weights.grad, expected)


def test_the_first_order_gradient_is_that_of_the_fast_weights():
    meta = network()
    fast = meta.adapt(meta.slow_weights(), X, Y, steps=2)
    meta.loss(fast, X_QUERY, Y_QUERY).backward()
    leaves = {name: value.detach().requires_grad_() for name, value in fast.items()}
    meta.loss(leaves, X_QUERY, Y_QUERY).backward()
    for weights, leaf in zip(meta.body.parameters(), leaves.values(), strict=True):
        torch.testing.assert_close(weights.grad, leaf.grad)
    # A step size learns minus the product of this gradient and the summed gradients of its steps.
    moved = {name: (meta.slow_weights()[name] - fast[name]).detach() / 0.3 for name in fast}
    for size, name in zip(meta.step_sizes, fast, strict=True):
        torch.testing.assert_close(size.grad, -leaves[name].grad * moved[name])


def test_only_the_named_weights_are_adapted():
    meta = network(adapted=("2.weight", "2.bias"))
    slow = meta.slow_weights()
    fast = meta.adapt(slow, X, Y, steps=1)
    assert [torch.equal(fast[name], slow[name]) for name in slow] == [True, True, False, False]
    assert len(meta.step_sizes) == 2


def test_batch_normalisation_keeps_no_running_statistics():
    meta = MetaNetwork(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)), ["0.weight"], 0.1)
    before = {name: value.clone() for name, value in meta.state_dict().items()}
    meta.train()
    fast = meta.adapt(meta.slow_weights(), X.float(), Y, steps=1)
    assert all(torch.equal(value, before[name]) for name, value in meta.state_dict().items())
    assert not torch.equal(fast["0.weight"], before["body.0.weight"])
