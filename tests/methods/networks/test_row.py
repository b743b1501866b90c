import pytest
import torch
from torch import nn

from redwood.methods.networks import build_network
from redwood.methods.networks.row import GatedNetwork, is_row, layers_of
from tests.methods.rows import normalised_row
from tests.small_runs import NormalisedNetwork, small_setting


def network(name):
    return build_network(name, small_setting("task_incremental").observation_space, 10)


SHARED = nn.Linear(8, 8)
NO_ROWS = {
    "a forward of its own": NormalisedNetwork(),
    "one layer": nn.Sequential(nn.Flatten(), nn.Linear(64, 10)),
    "a layer twice": nn.Sequential(SHARED, nn.ReLU(), SHARED, nn.Linear(8, 10)),
    "units that are mixed": nn.Sequential(nn.Linear(64, 8), nn.LayerNorm(8), nn.Linear(8, 10)),
    "groups": nn.Sequential(nn.Conv2d(2, 4, 3, groups=2), nn.Flatten(), nn.Linear(16, 10)),
    "units along the wrong dimension": nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.Linear(6, 2), nn.Flatten(), nn.Linear(4, 10)
    ),
    "no linear head": nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 10, 6), nn.Flatten()),
}


@pytest.mark.parametrize("name", ["mlp", "simple_cnn"])
def test_rows(name):
    assert is_row(network(name))


def test_batch_normalisation_and_dropout_may_stand_in_it():
    row = normalised_row()
    assert is_row(row)
    assert layers_of(row) == [row[1][0], row[3], row[6]]


@pytest.mark.parametrize("case", NO_ROWS)
def test_no_rows(case):
    assert not is_row(NO_ROWS[case])


def test_residual_networks_are_none():
    assert not is_row(network("slim_resnet18"))


class TestGates:
    x = torch.randint(0, 17, (6, 1, 8, 8), generator=torch.Generator().manual_seed(0))

    @pytest.mark.parametrize("name", ["mlp", "simple_cnn"])
    def test_open_gates_change_nothing(self, name):
        body = network(name)
        assert torch.equal(GatedNetwork(body).eval()(self.x), body(self.x))

    @pytest.mark.parametrize("name", ["mlp", "simple_cnn", "normalised"])
    def test_a_shut_gate_is_as_good_as_outgoing_weights_of_zero(self, name):
        body = normalised_row() if name == "normalised" else network(name)
        gated, layers = GatedNetwork(body).eval(), layers_of(body)
        gates = [torch.arange(len(layer.weight)) % 3 > 0 for layer in layers[:-1]]
        shut = gated(self.x, gates)
        with torch.no_grad():
            for gate, layer in zip(gates, layers[1:], strict=True):
                layer.weight.unflatten(1, (len(gate), -1))[:, ~gate] = 0
        torch.testing.assert_close(shut, body(self.x))

    def test_soft_in_training_and_hard_in_evaluation(self):
        gated = GatedNetwork(network("mlp"))
        with torch.no_grad():
            for embedding in gated.embeddings:
                embedding.normal_(generator=torch.Generator().manual_seed(0))
        gated.scale = 2.0
        soft, hard = gated.soft_gates(), gated.hard_gates()
        assert torch.equal(soft[0] > 0.5, hard[0]) and 0 < int(hard[0].sum()) < 256
        in_training, in_evaluation = gated.train()(self.x), gated.eval()(self.x)
        assert torch.equal(in_training, gated(self.x, soft)) and torch.equal(in_evaluation, gated(self.x, hard))
        assert not torch.equal(in_training, in_evaluation)
