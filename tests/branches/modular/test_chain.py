import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from torch import nn

from redwood.branches.modular.chain import MOST_MODULES, cut, keep_buffers, last_layer_names, put_tensors, tensors_of
from redwood.core.errors import DataError
from redwood.methods.networks import build_network

IMAGE = Box(0, 255, (3, 16, 16), np.uint8)
VECTOR = Box(np.array([0.0, -1.0], np.float32), np.array([1.0, 3.0], np.float32))


@pytest.mark.parametrize(
    ("model", "n_modules"), [("mlp", 3), ("simple_cnn", 4), ("slim_resnet18", MOST_MODULES), ("resnet18", 1)]
)
def test_modules_compute_what_the_network_computes(model, n_modules):
    torch.manual_seed(0)
    network = build_network(model, IMAGE, 5).eval()
    x = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8)
    modules = cut(network)
    assert len(modules) == n_modules
    assert torch.equal(nn.Sequential(*modules)(x), network(x))
    assert sum(map(len, map(list, (m.parameters() for m in modules)))) == len(list(network.parameters()))


def test_each_module_has_weights_and_the_head_is_the_last_layer():
    modules = cut(build_network("slim_resnet18", IMAGE, 5))
    assert all(any(weights.dim() > 1 for weights in module.parameters()) for module in modules)
    assert [type(part) for part in modules[-1]] == [nn.Linear]
    assert last_layer_names(modules[-1]) == {"0.weight", "0.bias"}


def test_a_module_takes_over_weights_and_the_bounds_of_its_inputs():
    first, second = (cut(build_network("mlp", Box(0, high, (2,), np.float32), 2))[0] for high in (1, 7))
    x = torch.rand(3, 2)
    assert not torch.equal(first(x), second(x))
    put_tensors(second, tensors_of(first), "The module")
    assert torch.equal(first(x), second(x))


def test_bounds_of_another_shape_are_taken_over_too():
    first, second = (cut(build_network("mlp", space, 2))[0] for space in (VECTOR, Box(0, 1, (2,), np.float32)))
    put_tensors(second, tensors_of(first), "The module")
    x = torch.rand(3, 2)
    assert torch.equal(first(x), second(x))


def test_another_network_is_refused_in_one_sentence():
    wide, narrow = (cut(build_network("mlp", Box(0, 1, (n,), np.float32), 2))[0] for n in (3, 2))
    with pytest.raises(DataError, match=r"The module abc is of another network: its .*weight is .*--model"):
        put_tensors(narrow, tensors_of(wide), "The module abc")


def test_checkpoints_hold_the_bounds_of_the_inputs():
    stem = cut(build_network("mlp", VECTOR, 2))[0]
    assert not any("gain" in name for name in stem.state_dict())
    keep_buffers(stem)
    assert {"0.gain", "0.bias"} <= set(stem.state_dict())
