import pytest
from torch import nn

from redwood.methods.networks import build_network
from redwood.methods.networks.row import is_row, layers_of
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
