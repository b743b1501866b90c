import numpy as np
import pytest
import torch
from torch import Tensor

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
    @pytest.mark.few(3)
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

    @pytest.mark.parametrize("size", [1090, 5000])
    def test_differences_of_halves_are_forgotten(self, size: int) -> None:
        assert abs(z_score(kept_differences(size), 1.0)) < 3.29

    @pytest.mark.parametrize("size", [1090, 5000])
    @pytest.mark.parametrize("rounds", [2, 4, 6])
    def test_fewer_rounds_are_found_out(self, size: int, rounds: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("redwood.buffers.samplers.keyed_permutation.ROUNDS", rounds)
        assert abs(z_score(kept_differences(size), 1.0)) > 5


def kept_differences(size: int) -> Tensor:
    """How often two values with one half in common keep the difference of the other half, as a multiple of chance.

    Four rounds keep it twice as often as chance does (Patarin, 2001, "Generic Attacks on Feistel Schemes"), six a few
    percent more often. The values of each step (200,) have one of 16 other halves.
    """
    shares = []
    for step in range(200):
        found = permutation(size, step)
        values = np.arange(size // found._b)[:, None] * found._b + np.arange(16)
        before, after = (found._halves(some)[0].astype(np.int64) for some in (values, found.of(values.ravel())))
        after = after.reshape(before.shape)
        one, other = np.triu_indices(len(values), 1)
        kept = [(half[one] - half[other]) % found._a for half in (before, after)]
        shares.append((kept[0] == kept[1]).mean() * found._a)
    return torch.tensor(shares)


@pytest.mark.parametrize("seeds", [(0, 0), (0, 1), (1, 2)])
def test_steps_and_seeds_next_to_each_other_are_independent(seeds: tuple[int, int]) -> None:
    """A step and the next one of one seed, or of two seeds the same steps."""
    shift = int(seeds[0] == seeds[1])
    one, other = (
        torch.stack([torch.from_numpy(permutation(1090, step + late, seed).of(np.arange(30))) for step in range(STEPS)])
        for seed, late in zip(seeds, (0, shift), strict=True)
    )
    equal = one[:, :, None] == other[:, None, :]
    assert abs(z_score(equal.sum((1, 2)).double(), 900 / 1090)) < 3.29
    assert abs(z_score(equal.diagonal(dim1=1, dim2=2).sum(1).double(), 30 / 1090)) < 3.29
    # What a value is mapped to by the one says nothing of what it is mapped to by the other.
    pairs = (one[:, 0] * 5 // 1090) * 5 + other[:, 0] * 5 // 1090
    assert share_p_value(pairs.bincount(minlength=25), torch.ones(25)) > ALPHA


def test_one_step_is_the_same_each_time() -> None:
    assert torch.equal(mapped(1090, [0, 7, 29]), mapped(1090, [0, 7, 29]))
