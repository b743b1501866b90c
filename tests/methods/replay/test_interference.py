from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from redwood.methods.replay.interference import interference
from redwood.settings.batch import Batch
from tests.methods.helpers import batch_of
from tests.small_runs import NormalisedNetwork

LR = 0.3


def unmasked(scores, tasks):
    return scores


def by_tasks(scores, tasks):
    """Task 0 has the even classes."""
    return scores.masked_fill((torch.arange(10) + tasks[:, None]) % 2 == 1, -torch.inf)


def by_brute_force(network, update, others, mask):
    """A step of SGD on a copy, sample by sample."""
    network = deepcopy(network).eval()

    def losses():
        with torch.no_grad():
            answers = [mask(network(x[None]), t[None]) for x, t in zip(others.x, others.task_id, strict=True)]
        return torch.cat([F.cross_entropy(a, y[None])[None] for a, y in zip(answers, others.y, strict=True)])

    before = losses()
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], LR)
    F.cross_entropy(mask(network(update.x), update.task_id), update.y).backward()
    optimizer.step()
    return losses() - before


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = NormalisedNetwork()
    network(batch_of(0, 32).x)  # statistics that are not the initial ones
    return network


class TestInterference:
    def test_it_is_the_rise_of_each_samples_loss(self, network):
        update, others = batch_of(32, 48), batch_of(48, 100)
        found = interference(network, update, others, LR, unmasked)
        torch.testing.assert_close(found, by_brute_force(network, update, others, unmasked), rtol=1e-4, atol=1e-5)
        assert float(found.min()) < -0.01 < 0.01 < float(found.max())

    def test_scores_outside_the_tasks_do_not_count(self, network):
        batches = [batch_of(a, b)._replace(task_id=batch_of(a, b).y % 2) for a, b in ((32, 48), (48, 100))]
        found = interference(network, *batches, LR, by_tasks)
        torch.testing.assert_close(found, by_brute_force(network, *batches, by_tasks), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(found, interference(network, *batches, LR, unmasked), atol=1e-3)

    def test_frozen_parameters_do_not_move(self, network):
        network[1].requires_grad_(False)
        update, others = batch_of(32, 48), batch_of(48, 100)
        found = interference(network, update, others, LR, unmasked)
        torch.testing.assert_close(found, by_brute_force(network, update, others, unmasked), rtol=1e-4, atol=1e-5)

    def test_it_leaves_the_network_as_it_was(self, network):
        network[4].eval()
        state, modes = deepcopy(network.state_dict()), [part.training for part in network.modules()]
        interference(network, batch_of(32, 48), batch_of(48, 100), LR, unmasked)
        for name, value in network.state_dict().items():
            assert torch.equal(value, state[name]), name
        assert [part.training for part in network.modules()] == modes
        assert all(p.grad is None for p in network.parameters())

    def test_an_update_that_changes_nothing_interferes_with_nothing(self, network):
        nn.init.zeros_(network[5].weight)  # no gradient gets past the last layer, and that one sees no features
        network[5].weight.requires_grad_(False)
        network[5].bias.requires_grad_(False)
        found = interference(network, batch_of(0, 16), batch_of(16, 32), LR, unmasked)
        assert torch.equal(found, torch.zeros(16))

    def test_samples_without_task_ids(self, network):
        update, others = (Batch(batch.x, batch.y, None) for batch in (batch_of(0, 16), batch_of(16, 32)))
        assert interference(network, update, others, LR, unmasked).shape == (16,)


class FirstAnswers(nn.Module):
    """Of two networks the first one answers; it is frozen."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).requires_grad_(False)
        self.second = nn.Linear(64, 10)

    def forward(self, x):
        return self.first(x.float())


def test_a_step_that_moves_nothing_interferes_with_nothing():
    update, others = batch_of(0, 4), batch_of(4, 10)
    assert torch.equal(interference(FirstAnswers(), update, others, LR, unmasked), torch.zeros(6))
