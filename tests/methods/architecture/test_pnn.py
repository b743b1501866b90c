import copy

import pytest
import torch
from torch import nn

from redwood.core.errors import InvalidOptionError
from redwood.methods.architecture.pnn import PNN, ProgressiveBlocks, ProgressiveNetwork
from redwood.methods.networks import build_network
from redwood.methods.networks.builtin import BasicBlock
from redwood.methods.networks.row import layers_of
from redwood.settings import ClassSplit
from tests.methods.helpers import configured, one_sentence
from tests.methods.networks.spaces import images
from tests.methods.rows import RESIDUAL, forgets, normalised_row, plain, watched
from tests.methods.test_given_networks import Tokens
from tests.small_runs import small_setting


def column():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2))


def own_parameters(make, n_columns):
    """How many parameters each column brings along."""
    network, sizes = ProgressiveNetwork(make()), []
    for number in range(n_columns):
        if number:
            network.add(make())
        sizes.append(sum(p.numel() for p in network.parameters() if p.requires_grad))
    return sizes


class TestParameters:
    def test_each_earlier_column_costs_as_many_as_the_lateral_layers_have(self):
        expected = [3202 + t * (32 * 32 + 32 * 2) for t in range(5)]
        assert own_parameters(column, 5) == expected == [3202, 4290, 5378, 6466, 7554]

    def test_of_convolutions(self):
        space = small_setting("task_incremental").observation_space
        sizes = own_parameters(lambda: build_network("simple_cnn", space, 10), 3)
        lateral = 9 * (32 * 64 + 64 * 128) + 128 * 10
        assert [size - sizes[0] for size in sizes] == [0, lateral, 2 * lateral]

    def test_a_run_has_a_column_per_phase(self):
        method = plain(PNN)
        base, lateral = 64 * 256 + 256 * 256 + 2560 + 522, 256 * 256 + 2560
        assert method.costs()["parameters"] == 3 * base + (0 + 1 + 2) * lateral
        assert method.costs()["buffer_bytes"] == 0


class TestNetwork:
    def test_each_layer_reads_what_its_like_in_earlier_columns_reads(self):
        """Equation 1, written out."""
        torch.manual_seed(0)
        network = ProgressiveNetwork(column())
        for _ in range(2):
            network.add(column())
        x = torch.randn(7, 64)
        hidden = []
        for k in range(3):
            first, second, third = layers_of(network.columns[k])
            h1 = torch.relu(first(x))
            before = second(h1) + sum(h[0] @ network.laterals[k][0][j].weight.T for j, h in enumerate(hidden))
            h2 = torch.relu(before)
            scores = third(h2) + sum(h[1] @ network.laterals[k][1][j].weight.T for j, h in enumerate(hidden))
            hidden.append((h1, h2))
            torch.testing.assert_close(network(x, k), scores)
        assert torch.equal(network(x), network(x, 2))

    def test_earlier_columns_are_frozen_and_in_evaluation_mode(self):
        network = ProgressiveNetwork(normalised_row())
        network.add(normalised_row())
        statistics = copy.deepcopy(network.columns[0].state_dict())
        network.train()
        network(torch.randint(0, 17, (5, 1, 8, 8)))
        for name, value in network.columns[0].state_dict().items():
            assert torch.equal(value, statistics[name])
        assert not any(part.training for part in network.columns[0].modules())
        assert all(part.training for part in network.columns[1].modules())
        assert not any(p.requires_grad for p in network.columns[0].parameters())
        assert all(p.requires_grad for p in network.columns[1].parameters())
        assert all(p.requires_grad for p in network.laterals[1].parameters())


class TestGrowth:
    def test_columns_start_with_weights_of_their_own_from_the_seed(self):
        networks = [configured(PNN(), "task_incremental", seed=seed) for seed in (0, 0, 1)]
        for method in networks:
            method._grow(3)
        first, again, other = (list(method.network.columns[2].parameters()) for method in networks)
        assert all(map(torch.equal, first, again))
        assert not any(map(torch.equal, first, other))
        assert not any(map(torch.equal, first, networks[0].network.columns[1].parameters()))

    def test_steps_cost_more_with_each_column(self):
        method = watched(
            PNN, setting={"stream": ClassSplit(increment=[2], class_order=range(10)), "nb_tasks": None, "passes": 1}
        )
        spent = torch.tensor(method.spent).diff()
        assert len(spent) == 4 and float(spent[-1]) > 1.5 * float(spent[0])

    def test_nothing_is_said_of_the_frozen_columns(self, recwarn):
        watched(PNN)
        assert not [str(w.message) for w in recwarn if "eval mode" in str(w.message)]


class TestBlocks:
    x = torch.randint(0, 256, (4, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)

    def made(self, name, n_columns=3):
        space = images(3, 32, 32)
        torch.manual_seed(0)
        network = ProgressiveBlocks(build_network(name, space, 5), space)
        for _ in range(n_columns - 1):
            network.add(build_network(name, space, 5))
        with torch.no_grad():
            for lateral in network.laterals.modules():
                if isinstance(lateral, nn.Conv2d | nn.Linear):
                    assert not lateral.weight.any()
                    lateral.weight.normal_(std=0.05)
        return network.eval()

    def test_each_block_and_the_head_read_what_their_like_in_earlier_columns_read(self):
        """Written out for the nine places of a residual network."""
        network = self.made("slim_resnet18")
        read = []
        for k in range(3):
            scale, features, head = network.columns[k]
            h, inputs, i = scale(self.x), [], 0
            for part in [*features, head]:
                y = part(h)
                if isinstance(part, BasicBlock) or part is head:
                    inputs.append(h)
                    y = y + sum(network.laterals[k][i][j](read[j][i]) for j in range(k))
                    i += 1
                h = y
            read.append(inputs)
            torch.testing.assert_close(network(self.x, k), h)
        assert i == 9
        assert torch.equal(network(self.x), network(self.x, 2))
        assert not any(part._forward_hooks for part in network.modules())

    def test_lateral_layers_have_the_stride_of_their_block(self):
        laterals = [places[0] for places in self.made("resnet18", n_columns=2).laterals[1]]
        assert [layer[-1].stride[0] for layer in laterals[:-1]] == [1, 1, 2, 1, 2, 1, 2, 1]
        assert (laterals[-1][-1].in_features, laterals[-1][-1].out_features) == (512, 5)

    @pytest.mark.parametrize("name", ["timm:test_vit", "timm:test_convnext", "timm:test_resnet"])
    def test_networks_of_other_blocks(self, name):
        network = self.made(name, n_columns=2)
        before = network(self.x, 0)
        with torch.no_grad():
            for parameter in [*network.columns[1].parameters(), *network.laterals[1].parameters()]:
                parameter.add_(1)
        assert torch.equal(network(self.x, 0), before)
        network.train()(self.x).sum().backward()
        assert all(p.grad is not None for p in network.laterals[1].parameters())

    @pytest.mark.parametrize("model", [pytest.param(name, marks=slow) for name, slow in RESIDUAL.items()])
    @pytest.mark.few(1)
    def test_nothing_is_forgotten(self, model):
        assert not forgets(watched(PNN, model=model, setting={"passes": 1}))

    def test_networks_without_blocks(self):
        with pytest.raises(
            InvalidOptionError, match="--method pnn needs a network whose layers stand in a row"
        ) as error:
            configured(PNN(model=Tokens()), "task_incremental")
        assert one_sentence(error.value)
