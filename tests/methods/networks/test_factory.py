import pytest
import torch
from torch import nn

from redwood.core.errors import InvalidOptionError, RedwoodError
from redwood.methods.baselines import Joint
from redwood.methods.networks import build_network
from tests.methods.helpers import configured
from tests.methods.networks.spaces import vectors

SOURCE = """
import functools
from torch import nn

class Flat(nn.Module):
    def forward(self, x):
        return x.flatten(1).float()

def both(space, n):
    return nn.Sequential(Flat(), nn.Linear(64, n))

def none():
    return nn.Sequential(Flat(), nn.Linear(64, 10))

class Named(nn.Sequential):
    def __init__(self, width=7, depth=1, *, n_outputs):
        super().__init__(Flat(), nn.Linear(64, width), nn.Linear(width, n_outputs))

class Defaults(nn.Sequential):
    def __init__(self, width=7, depth=1):
        super().__init__(Flat(), nn.Linear(64, width), nn.Linear(width, 10))

shared = functools.cache(none)
module = none()
number = 3
def three(a, b, c): ...
def text(space, n): return "mlp"
def fails(space, n):
    return 1 / 0
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "nets.py"
    path.write_text(SOURCE)
    return path


def build(name):
    return build_network(name, vectors(64), 10)


@pytest.mark.parametrize("name", ["both", "none", "Named", "Defaults"])
def test_functions_and_classes_get_what_they_take(file, name):
    network = build(f"{file}:{name}")
    assert network(torch.zeros(3, 64)).shape == (3, 10)
    assert name in ("both", "none") or network[1].out_features == 7


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            ":nope",
            "There is no network in .*nets.py named 'nope'. .* Known: Defaults, Flat, Named, both, fails, none, text",
        ),
        ("", r"nets.py is a file; add a colon and what in it is the network"),
        (":module", "must be a function .*, but it is a Sequential"),
        (":number", "must be a function .*, but it is a int"),
        (":three", r"or one without arguments, but it takes \(a, b, c\)"),
        (":text", "but it returned a str"),
        (":fails", r"nets.py:fails fails \(ZeroDivisionError: division by zero, in line 29\)"),
        (":Flat", r"network Flat must map 2 samples .* give it 10 outputs"),
    ],
)
def test_what_makes_no_network(file, name, sentence):
    with pytest.raises(RedwoodError, match=sentence):
        build(f"{file}{name}")


def test_from_scratch_draws_anew(file):
    method = configured(Joint(model=f"{file}:both"), "cumulative")
    weights = [method.network[1].weight.clone()]
    for _ in range(2):
        method.reset_network()
        weights.append(method.network[1].weight.clone())
    assert not torch.equal(weights[0], weights[1])
    assert torch.equal(weights[1], weights[2])  # of one phase


def test_a_network_that_the_function_keeps_is_copied(file):
    first, second = build(f"{file}:shared"), build(f"{file}:shared")
    assert first is not second and torch.equal(first[1].weight, second[1].weight)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (nn.Linear, r"but the class Linear was given; pass an instance, Linear\(...\)"),
        (vectors, "but the function vectors was given; pass what it returns, or its name as in 'file.py:function'"),
        (3, "but a int was given; pass an nn.Module or the name of a network"),
    ],
)
def test_neither_a_name_nor_a_module(given, sentence):
    with pytest.raises(InvalidOptionError, match=sentence):
        build(given)
