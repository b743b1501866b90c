import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from redwood.branches.growing.adapted import AdaptedNetwork
from redwood.core.errors import InvalidOptionError
from redwood.methods.networks import build_network
from tests.small_runs import small_setting

SPACE = small_setting("class_incremental").observation_space


class Tokens(nn.Module):
    """Linear layers on tokens, of which the mean is classified, as in a transformer."""

    def __init__(self):
        super().__init__()
        self.mix, self.head = nn.Linear(8, 12), nn.Linear(12, 10)

    def forward(self, x):
        return self.head(torch.relu(self.mix(x.float().flatten(1, 2))).mean(1))


def network_of(model="mlp"):
    torch.manual_seed(0)
    made = Tokens() if model == "tokens" else build_network(model, SPACE, 10)
    return AdaptedNetwork(made, SPACE, 10, cosine_scale=10.0)


def samples(n=6):
    return torch.randint(0, 17, (n, *SPACE.shape), dtype=torch.uint8)


def changed(column):
    """The column, as training would change it."""
    with torch.no_grad():
        for parameter in column.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return column


class TestAnswers:
    def test_before_any_training_they_are_the_networks(self):
        network, x = network_of(), samples()
        assert torch.equal(network(x), network.network(x))

    def test_written_out_for_an_mlp(self):
        """z_t = scale * f + shift + sum of U_j relu(D_j h), and s times the cosine with each row."""
        network, x = network_of(), samples()
        network.train_extractor([0, 1])
        for classes in ([2, 3], [1, 4]):
            changed(network.add(torch.tensor(classes), 3))
        with torch.no_grad():
            network.scale.mul_(1.5)
            network.shift.add_(0.2)
        scale, features, head = network.network
        h = features[:-2](scale(x))
        f = features[-2:](h)
        expected = torch.full((6, 10), -torch.inf)
        expected[:, :2] = 10 * F.cosine_similarity(f[:, None], head.weight[None, :2], dim=2)
        z = 1.5 * f + 0.2
        for column in network.columns:
            z = z + torch.relu(h @ column.down.weight.T) @ column.up.weight.T
            scores = 10 * F.cosine_similarity(z[:, None], column.rows.weight[None], dim=2)
            expected[:, column.classes] = torch.maximum(expected[:, column.classes], scores)
        torch.testing.assert_close(network(x), expected)

    @pytest.mark.parametrize("model", ["mlp", "simple_cnn", "slim_resnet18", "tokens"])
    def test_later_columns_change_no_bit_of_earlier_answers(self, model):
        network, x = network_of(model), samples()
        network.train_extractor([0, 1])
        changed(network.add(torch.tensor([2, 3]), 4))
        network.train()
        before = network(x)[:, :4]
        for classes in ([4], [5, 6, 7]):
            column = network.add(torch.tensor(classes), 4)
            optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], 0.1, weight_decay=0.1)
            network(x)[:, classes].sum().backward()
            optimizer.step()
            assert column.up.weight.any()
        assert torch.equal(network(x)[:, :4], before)

    def test_a_new_column_changes_no_feature(self):
        network, x = network_of(), samples()
        network.add(torch.tensor([0]), 4)
        features, read = network.features(x)
        assert torch.equal(next(network.adapted(features, read)), features)

    def test_a_copy_answers_by_its_own_weights(self):
        network, x = network_of(), samples()
        changed(network.add(torch.tensor([0, 1]), 4))
        other = copy.deepcopy(network)
        before = other(x)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.zero_()
        assert torch.equal(other(x), before)


class TestGrowth:
    def test_only_the_new_column_is_trained_and_with_the_first_one_scale_and_shift(self):
        network = network_of()
        network.train_extractor([0])
        trained = [{name for name, p in network.named_parameters() if p.requires_grad}]
        for number in range(2):
            network.add(torch.tensor([number]), 4)
            trained.append({name for name, p in network.named_parameters() if p.requires_grad})
        parts = ("down.weight", "up.weight", "rows.weight")
        assert trained[0] == {f"network.{name}" for name, _ in network.network.named_parameters()} - {
            "network.head.bias"
        }
        assert trained[1] == {*(f"columns.0.{part}" for part in parts), "scale", "shift"}
        assert trained[2] == {f"columns.1.{part}" for part in parts}

    def test_what_is_frozen_stays_in_evaluation_mode(self):
        network = network_of("slim_resnet18")
        network.train()
        assert network.network.training
        for number in range(2):
            network.add(torch.tensor([number]), 4)
            network.train()
            assert not any(part.training for part in network.network.modules())
        assert [column.training for column in network.columns] == [False, True]

    def test_overlap(self):
        network = network_of()
        for number in range(3):
            changed(network.add(torch.tensor([number]), 2))
        first, second, third = network.columns
        expected = sum(
            (one.down.weight @ third.down.weight.T).square().sum() + (one.up.weight.T @ third.up.weight).square().sum()
            for one in (first, second)
        )
        torch.testing.assert_close(network.overlap(), expected)

    def test_columns_of_a_state(self):
        network, other, x = network_of(), network_of(), samples()
        for classes in ([0, 1], [1, 2, 3]):
            changed(network.add(torch.tensor(classes), 4))
        other.load_columns(network.state_dict())
        other.load_state_dict(network.state_dict())
        assert torch.equal(other(x), network(x))

    def test_a_network_without_a_linear_end_is_refused(self):
        network = nn.Sequential(nn.Flatten(), build_network("mlp", SPACE, 10), nn.Softmax(1))
        with pytest.raises(InvalidOptionError, match="does not end in a linear layer"):
            AdaptedNetwork(network, SPACE, 10, 10.0)
