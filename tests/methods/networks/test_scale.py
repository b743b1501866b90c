import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from torch import nn

from redwood.methods.networks import Scale
from tests.methods.networks.spaces import images, vectors


def test_bytes_become_minus_one_to_one() -> None:
    x = torch.tensor([[0, 51, 255]], dtype=torch.uint8)
    scaled = Scale(Box(0, 255, (3,), np.uint8))(x)
    assert scaled.dtype == torch.float32
    torch.testing.assert_close(scaled, torch.tensor([[-1.0, -0.6, 1.0]]))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64, torch.float32, torch.float64])
def test_storage_dtype_does_not_matter(dtype: torch.dtype) -> None:
    scale = Scale(images(1, 16, 16))
    x = torch.arange(256).view(1, 1, 16, 16)
    assert torch.equal(scale(x.to(dtype)), scale(x.to(torch.uint8)))
    torch.testing.assert_close(scale(x.to(dtype)).flatten(), torch.linspace(-1, 1, 256))


def test_features_are_scaled_by_their_own_bounds() -> None:
    low, high = np.array([0, -2, 10], np.float32), np.array([1, 2, 30], np.float32)
    scaled = Scale(Box(low, high))(torch.tensor([[0.0, -2.0, 10.0], [0.5, 0.0, 20.0], [1.0, 2.0, 30.0]]))
    torch.testing.assert_close(scaled, torch.tensor([[-1.0] * 3, [0.0] * 3, [1.0] * 3]))


def test_one_gain_where_bounds_are_equal() -> None:
    assert Scale(images(3, 32, 32)).gain.shape == ()
    assert Scale(Box(np.array([0, 0], np.float32), np.array([1, 2], np.float32))).gain.shape == (2,)


def test_constant_features_become_zero() -> None:
    low, high = np.array([3, 0], np.float32), np.array([3, 1], np.float32)
    assert Scale(Box(low, high))(torch.tensor([[3.0, 1.0]])).tolist() == [[0.0, 1.0]]


def test_unbounded_features_pass() -> None:
    x = torch.tensor([[-7.0, 0.25, 1e6]])
    assert torch.equal(Scale(vectors(3))(x), x)


@pytest.mark.parametrize("bound", [np.inf, np.finfo(np.float32).max])
def test_bounded_beside_unbounded_features(bound: float) -> None:
    high = np.array([4, bound], np.float32)
    scaled = Scale(Box(-high, high))(torch.tensor([[2.0, 3.0]]))
    assert scaled.tolist() == [[0.5, 3.0]]


def test_the_input_is_left_as_it_was() -> None:
    x = torch.tensor([[0.0, 255.0]])
    Scale(Box(0, 255, (2,), np.float32))(x)
    assert x.tolist() == [[0.0, 255.0]]


def test_has_no_parameters_and_leaves_nothing_in_checkpoints() -> None:
    scale = Scale(images(3, 8, 8))
    assert not list(scale.parameters())
    assert not scale.state_dict()


def test_stays_in_float32_under_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scaled = Scale(images(1, 1, 1))(torch.tensor([[[[1]]]], dtype=torch.uint8))
    assert scaled.dtype == torch.float32
    assert scaled.item() == pytest.approx(-1 + 2 / 255)


def test_follows_the_dtype_of_its_network() -> None:
    network = nn.Sequential(Scale(vectors(4)), nn.Linear(4, 2)).to(torch.bfloat16)
    assert network(torch.zeros(3, 4)).dtype == torch.bfloat16
