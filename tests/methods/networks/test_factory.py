import pytest
import torch
from torch import nn

from redwood.core.errors import InvalidOptionError, RedwoodError, UnknownNameError
from redwood.methods.baselines import Joint
from redwood.methods.networks import NETWORKS, Scale, auto, build_network
from tests.methods.helpers import configured
from tests.methods.networks.spaces import images, vectors

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
        (":Flat", r"network Flat must map 2 samples .* give it 10 outputs: .* as its argument n_outputs"),
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
        (3, "an nn.Module, a class or a function that makes one, or a name, but 3 was given; pass one of these"),
    ],
)
def test_neither_a_name_nor_a_module(given, sentence):
    with pytest.raises(InvalidOptionError, match=sentence):
        build(given)


EVERYWHERE = ["auto", "mlp"]
ON_IMAGES = ["simple_cnn", "slim_resnet18", "cifar_resnet18", "cifar_resnet32", "resnet18", "resnet50"]
SHAPES = [(1, 8, 8), (3, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 64)]


def n_parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_the_tables_above_are_complete() -> None:
    assert {*EVERYWHERE, *ON_IMAGES} == {*NETWORKS, "resnet18", "resnet50"}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", [*EVERYWHERE, *ON_IMAGES])
@pytest.mark.few(10)
def test_images_become_scores(name: str, shape: tuple[int, ...]) -> None:
    network = build_network(name, images(*shape), 7)
    assert isinstance(network[0], Scale)  # type: ignore[index]
    x = torch.randint(0, 256, (2, *shape)).to(torch.uint8)
    scores = network.eval()(x)
    assert scores.shape == (2, 7)
    assert scores.dtype == torch.float32
    assert torch.isfinite(scores).all()
    assert torch.equal(scores, network(x.float()))


@pytest.mark.parametrize("name", EVERYWHERE)
def test_vectors_become_scores(name: str) -> None:
    assert build_network(name, vectors(4), 2)(torch.randn(3, 4)).shape == (3, 2)


@pytest.mark.parametrize("name", [*EVERYWHERE, *ON_IMAGES])
def test_every_parameter_learns(name: str) -> None:
    network = build_network(name, images(3, 32, 32), 5)
    network(torch.randint(0, 256, (4, 3, 32, 32)).to(torch.uint8)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("mlp", (1, 28, 28), 784 * 256 + 256 + 256 * 256 + 256 + 256 * 10 + 10),
        ("simple_cnn", (3, 32, 32), 896 + 18_496 + 73_856 + 128 * 4 * 4 * 10 + 10),
        ("slim_resnet18", (3, 32, 32), 1_094_750),
        ("slim_resnet18", (3, 64, 64), 1_094_750),
        ("resnet18", (3, 32, 32), 11_181_642),
    ],
)
def test_parameter_count(name: str, shape: tuple[int, ...], expected: int) -> None:
    assert n_parameters(build_network(name, images(*shape), 10)) == expected


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((3, 32, 32), "slim_resnet18"),
        ((3, 16, 16), "slim_resnet18"),
        ((3, 8, 8), "mlp"),
        ((3, 32, 15), "mlp"),
        ((1, 28, 28), "mlp"),
        ((28, 28), "mlp"),
        ((64,), "mlp"),
    ],
)
def test_auto_chooses_by_shape(shape: tuple[int, ...], expected: str) -> None:
    space = images(*shape)
    assert str(auto(space, 3)) == str(NETWORKS[expected](space, 3))


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_the_seed_fixes_the_initial_weights(name: str) -> None:
    def state(seed: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(seed)
        return build_network(name, images(3, 32, 32), 4).state_dict()

    first, again, other = state(1), state(1), state(2)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_unknown_name_names_the_nearest_of_ours() -> None:
    with pytest.raises(
        UnknownNameError, match=r"here or in torchvision.models named 'slim_resnet'. Did you mean slim_resnet18\?"
    ):
        build_network("slim_resnet", images(3, 32, 32), 10)


def test_unknown_name_names_the_nearest_of_torchvision() -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean mobilenet_v2\?"):
        build_network("mobilenetv2", images(3, 32, 32), 10)
