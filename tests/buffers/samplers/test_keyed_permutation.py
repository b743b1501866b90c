import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from redwood.buffers.randomness import CounterRandom
from redwood.buffers.samplers.keyed_permutation import KeyedPermutation
from redwood.buffers.samplers.random_subsets import StepNumbers
from tests.buffers.statistics import ALPHA, chi_square_tail, draw_p_value, share_p_value, z_score

STEPS = 2000


def permutation(size: int, step: int = 0, seed: int = 0) -> KeyedPermutation:
    return KeyedPermutation(StepNumbers(CounterRandom(seed, "test"), step), size)


def mapped(size: int, values: list[int]) -> Tensor:
    """Where these values are mapped to (steps, n)."""
    return torch.stack([torch.from_numpy(permutation(size, step).of(np.array(values))) for step in range(STEPS)])


@pytest.mark.parametrize("size", [1, 2, 3, 12, 1025, 1089, 1090, 5000, 99_999])
def test_it_is_a_permutation_and_its_inverse(size: int) -> None:
    for step in range(3):
        every, found = np.arange(size), permutation(size, step).of(np.arange(size))
        assert (np.sort(found) == every).all()
        assert (permutation(size, step).inverse(found) == every).all()


def test_of_more_integers_than_32_bits_tell_apart() -> None:
    size = 5 << 32
    values = np.array([0, 1, size - 1, size // 2])
    found = permutation(size).of(values)
    assert ((found >= 0) & (found < size)).all()
    assert (permutation(size).inverse(found) == values).all()


def test_any_part_is_that_of_the_whole() -> None:
    whole = permutation(3000).of(np.arange(3000))
    assert (permutation(3000).of(np.array([17, 2999, 4])) == whole[[17, 2999, 4]]).all()


class TestItIsRandom:
    """On the smallest sizes that plans use it for, of which the first one is no product of its halves."""

    @pytest.mark.parametrize("size", [1090, 5000])
    def test_any_value_goes_anywhere(self, size: int) -> None:
        places = (mapped(size, [0, 1, 517, size - 1]) * 20) // size
        widths = ((torch.arange(size) * 20) // size).bincount()
        assert min(share_p_value(column.bincount(minlength=20), widths) for column in places.unbind(1)) > ALPHA / 4

    @pytest.mark.parametrize("size", [1090, 5000])
    @pytest.mark.parametrize("values", [[0, 1], [0, 33], [0, 34], [5, 900], [40, 1089]])
    def test_where_two_values_go_is_independent(self, size: int, values: list[int]) -> None:
        """Ten strips of the rows, by their size and by the remainder, and both values in each of them."""
        places = mapped(size, values)
        for strips in ((torch.arange(size) * 10) // size, torch.arange(size) % 10):
            sizes = strips.bincount().double()
            pairs = strips[places]
            expected = sizes[:, None] * sizes - torch.diag(sizes)  # two different values
            counts = (pairs[:, 0] * 10 + pairs[:, 1]).bincount(minlength=100)
            assert share_p_value(counts, expected.flatten()) > ALPHA / 20

    @pytest.mark.parametrize("size", [1090, 5000])
    def test_a_run_of_values_is_a_draw_of_rows(self, size: int) -> None:
        """As many of them in one block of rows as there should be on average, and as variable."""
        n = 60
        places = mapped(size, list(range(200, 200 + n)))
        assert (
            draw_p_value(
                (places * 50 // size).flatten().bincount(), n, STEPS, ((torch.arange(size) * 50) // size).bincount()
            )
            > ALPHA
        )
        in_block = (places < size // 10).sum(1).double()
        share = (size // 10) / size
        variance = n * share * (1 - share) * (size - n) / (size - 1)
        assert abs(z_score(in_block, n * share)) < 3.29
        assert chi_square_tail(float(((in_block - n * share) ** 2).sum() / variance), STEPS) > ALPHA / 2
        assert chi_square_tail(float(((in_block - n * share) ** 2).sum() / variance), STEPS) < 1 - ALPHA / 2

    def test_fewer_rounds_are_found_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("redwood.buffers.samplers.keyed_permutation.ROUNDS", 2)
        places = mapped(1500, list(range(60))) < 750
        assert abs(z_score(places.sum(1).double().sub(30).square(), 60 / 4 * (1500 - 60) / 1499)) > 5


def test_two_steps_are_independent() -> None:
    one, other = (mapped(1090, list(range(shift, shift + 30))) for shift in (0, 0))
    assert torch.equal(one, other)
    shared = (one[1:, :, None] == one[:-1, None, :]).sum((1, 2)).double()
    assert abs(z_score(shared, 900 / 1090)) < 3.29
    assert len(one_hot(one % 7, 7).sum(1).unique(dim=0)) > STEPS // 10
