from itertools import combinations

import numpy as np
import pytest
import torch
from torch import Tensor

from redwood.buffers.randomness import CounterRandom
from redwood.buffers.samplers.random_subsets import StepNumbers, equal_subsets, unequal_subsets
from tests.buffers.statistics import ALPHA, draw_p_value, share_p_value


def numbers(step: int = 0) -> StepNumbers:
    return StepNumbers(CounterRandom(0, "test"), step)


def equal(n_workers: int, n: int, size: int, step: int = 0) -> Tensor:
    return torch.from_numpy(equal_subsets(numbers(step), np.arange(n_workers), n, size)).long()


def unequal(sizes: list[int], shares: list[int], n_workers: int, step: int = 0) -> list[Tensor]:
    """For each worker, from intervals of these sizes, subsets of these sizes (sum of shares), ascending."""
    total = sum(sizes)
    ends = torch.tensor(sizes).cumsum(0)
    starts = (torch.arange(n_workers)[:, None] * total + ends - torch.tensor(sizes)).flatten()
    workers = torch.arange(n_workers).repeat_interleave(len(sizes))
    tables = workers, starts, torch.tensor(sizes * n_workers), torch.tensor(shares * n_workers)
    keys = torch.from_numpy(unequal_subsets(numbers(step), *(table.numpy() for table in tables))).sort().values
    return list((keys % total).split([sum(shares)] * n_workers))


class TestStepNumbers:
    def test_none_is_used_twice(self) -> None:
        seen = []
        for step in (0, 1, 7):
            own = numbers(step)
            seen += [torch.from_numpy(own.of(np.arange(40)[:, None], np.arange(50))).flatten()]
            seen += [torch.from_numpy(own.again(n)) for n in (3, 0, 500)]
        assert len(torch.cat(seen).unique()) == 3 * (40 * 50 + 503)

    def test_the_last_ones_of_one_worker_and_step_are_not_the_first_ones_of_the_next(self) -> None:
        for step in (0, (1 << 31) - 2):
            last = numbers(step).of(np.array([65_534, 65_535]), np.array([65_535, 65_535]))
            first = numbers(step).of(np.array([65_535]), np.array([0]))
            following = numbers(step + 1).of(np.array([0]), np.array([0]))
            assert len({*last.tolist(), *first.tolist(), *following.tolist()}) == 4


class TestEqualSubsets:
    @pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
    def test_all_subsets_are_equally_likely(self, n: int) -> None:
        """Of six integers: values repeat all the time, and from four on those left out are drawn."""
        codes = (1 << equal(20_000, n, 6)).sum(1)
        expected = [sum(1 << i for i in subset) for subset in combinations(range(6), n)]
        counts = codes.bincount(minlength=64)
        assert counts.sum() == counts[expected].sum()
        assert share_p_value(counts[expected], torch.ones(len(expected))) > ALPHA

    @pytest.mark.parametrize(
        ("n", "size"), [(0, 0), (0, 5), (5, 5), (4, 5), (600, 1200), (601, 1200), (4999, 5000), (1, 1 << 40)]
    )
    def test_distinct_and_ascending(self, n: int, size: int) -> None:
        rows = equal(30, n, size)
        assert rows.shape == (30, n)
        assert (rows[:, 1:] > rows[:, :-1]).all()
        assert ((rows >= 0) & (rows < size)).all()

    def test_of_more_integers_than_32_bits_tell_apart(self) -> None:
        parts = equal(2000, 4, 5 << 40).flatten() >> 40
        assert share_p_value(parts.bincount(minlength=5), torch.ones(5)) > ALPHA

    def test_a_subset_does_not_depend_on_the_workers_beside_it(self) -> None:
        """Unless values repeat, which they do not here."""
        assert torch.equal(equal(50, 7, 1 << 40)[:9], equal(9, 7, 1 << 40))


class TestUnequalSubsets:
    def test_all_integers_of_an_interval_are_equally_likely(self) -> None:
        sizes, shares = [9, 1, 12, 4, 30], [4, 1, 11, 0, 2]
        found = torch.cat(unequal(sizes, shares, 3000))
        counts = found.bincount(minlength=sum(sizes)).split(sizes)
        assert (counts[1] == 3000).all()
        assert not counts[3].any()
        assert min(draw_p_value(counts[i], shares[i], 3000) for i in (0, 2, 4)) > ALPHA / 3

    @pytest.mark.parametrize("share", [2, 3])
    def test_all_subsets_of_each_interval_are_equally_likely_and_independent(self, share: int) -> None:
        pairs = (1 << torch.stack(unequal([5, 5], [share, share], 9000))).sum(1)
        counts = pairs.bincount(minlength=1024)
        assert (counts > 0).sum() == 100
        assert share_p_value(counts[counts > 0], torch.ones(100)) > ALPHA

    def test_nothing_and_everything(self) -> None:
        assert [rows.tolist() for rows in unequal([3, 2], [0, 0], 2)] == [[], []]
        assert [rows.tolist() for rows in unequal([3, 2], [3, 2], 2)] == [list(range(5))] * 2
