"""Layers that exist once for each task."""

import torch
from torch import nn

from redwood.methods.agents.task_heads import (
    PassingTrunk,
    TaskDeviations,
    TaskHeads,
    head_parameters,
    skip_idle_heads,
)

CODES = torch.eye(3)


def heads():
    torch.manual_seed(0)
    return [nn.Linear(4, 2) for _ in range(3)]


def test_each_row_is_answered_by_the_head_of_its_task():
    layers, x = heads(), torch.randn(5, 4)
    tasks = torch.tensor([2, 0, 0, 1, 2])
    found = TaskHeads(layers)(torch.cat([x, CODES[tasks]], 1))
    expected = torch.stack([layers[task](row) for task, row in zip(tasks, x, strict=True)])
    assert torch.allclose(found, expected, atol=1e-6)


def test_deviations_are_those_of_the_task():
    deviations = TaskDeviations(3, 2, -1.0)
    with torch.no_grad():
        deviations.log_std_1.copy_(torch.tensor([3.0, 4.0]))
    found = deviations(torch.cat([torch.randn(2, 4), CODES[[1, 2]]], 1))
    assert found.tolist() == [[3.0, 4.0], [-1.0, -1.0]]


def test_the_code_passes_by_the_trunk():
    inner = nn.Linear(2 + 1, 5)
    x, action = torch.randn(3, 2), torch.randn(3, 1)
    found = PassingTrunk(inner, 2, 3)(torch.cat([x, CODES, action], 1))
    assert torch.equal(found, torch.cat([inner(torch.cat([x, action], 1)), CODES], 1))


def test_momentum_moves_no_head_of_another_task():
    """Adam goes on moving a weight whose gradient is 0."""
    network = TaskHeads(heads())
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)

    def step(task, *, skip):
        optimizer.zero_grad()
        network(torch.cat([torch.ones(2, 4), CODES[[task, task]]], 1)).sum().backward()
        if skip:
            skip_idle_heads(optimizer, head_parameters(network))
        before = [p.detach().clone() for p in network.parameters()]
        optimizer.step()
        names = [name for name, _ in network.named_parameters()]
        pairs = zip(names, before, network.parameters(), strict=True)
        return {name for name, old, new in pairs if not torch.equal(old, new)}

    assert step(0, skip=True) == {"weight_0", "bias_0"}
    assert step(1, skip=True) == {"weight_1", "bias_1"}
    assert step(2, skip=False) == {f"{kind}_{task}" for kind in ("weight", "bias") for task in range(3)}
