import pytest
import torch
from torch import Tensor, nn

from redwood.core.errors import InvalidOptionError
from redwood.methods.networks import Scale, adapt_module
from tests.methods.networks.spaces import images, vectors


class OfBytes(nn.Module):
    """A user's network, which must see images as they are stored."""

    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * 4 * 4, n_outputs)
        self.dropout = nn.Dropout()

    def forward(self, x: Tensor) -> Tensor:
        assert x.dtype == torch.uint8
        torch.rand(1)
        scores: Tensor = self.linear(self.dropout(x.float().flatten(1)))
        return scores


def test_returns_a_copy() -> None:
    module = OfBytes(5)
    network = adapt_module(module, images(3, 4, 4), 5)
    assert network is not module and torch.equal(network.linear.weight, module.linear.weight)
    assert network.linear.weight.data_ptr() != module.linear.weight.data_ptr()


def test_leaves_modes_generator_and_gradients_alone() -> None:
    module = OfBytes(5).train()
    module.dropout.eval()
    before = torch.get_rng_state()
    network = adapt_module(module, images(3, 4, 4), 5)
    assert torch.equal(torch.get_rng_state(), before)
    for part in (module, network):
        assert part.training and part.linear.training and not part.dropout.training
        assert part.linear.weight.grad is None


def test_batch_statistics_are_untouched() -> None:
    module = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2))
    assert adapt_module(module, vectors(4), 2)[0].num_batches_tracked == 0


def test_wrong_number_of_scores() -> None:
    with pytest.raises(
        InvalidOptionError, match=r"OfBytes must map 2 samples \(3, 4, 4\) .* scores \(2, 10\), got \(2, 5\)"
    ):
        adapt_module(OfBytes(5), images(3, 4, 4), 10)


def test_no_tensor() -> None:
    with pytest.raises(InvalidOptionError, match=r"network LSTM must map .* got a tuple"):
        adapt_module(nn.LSTM(4, 2), vectors(4), 2)


def test_wrong_observations() -> None:
    with pytest.raises(InvalidOptionError, match=r"network Linear cannot take samples \(3,\) float32 \(.*shapes"):
        adapt_module(nn.Linear(4, 2), vectors(3), 2)


@pytest.mark.parametrize("module", [nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), nn.Linear(3, 2)])
def test_bytes_for_a_module_that_takes_floats(module: nn.Module) -> None:
    remedy = r"it gets samples as they are stored, so start its forward with x = x.float\(\), and scale them"
    with pytest.raises(InvalidOptionError, match=rf"cannot take samples \(3, 4, 4\) uint8 .*; {remedy}"):
        adapt_module(module, images(3, 4, 4), 2)


def test_bytes_are_not_to_blame_for_another_error() -> None:
    module = nn.Sequential(Scale(images(3, 5, 5)), nn.Flatten(), nn.Linear(48, 2))
    with pytest.raises(InvalidOptionError, match=r"cannot take samples \(3, 5, 5\) uint8 .*; choose another network"):
        adapt_module(module, images(3, 5, 5), 2)


def test_modes_are_restored_after_a_failure() -> None:
    module = nn.Linear(4, 2).train()
    with pytest.raises(InvalidOptionError):
        adapt_module(module, vectors(3), 2)
    assert module.training
