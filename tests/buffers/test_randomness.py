import math
from itertools import permutations

import pytest
import torch

from redwood.buffers.randomness import CounterRandom, StepRandom, choose, derive_key, integers, mix
from tests.buffers.statistics import ALPHA, share_p_value

GOLDEN, MASK = 0x9E3779B97F4A7C15, (1 << 64) - 1


class TestSplitMix64:
    def test_known_values(self) -> None:
        states = [(1234567 + i * GOLDEN) & MASK for i in range(1, 4)]
        assert [mix(state) for state in states] == [
            6457827717110365317,
            3203168211198807973,
            9817491932198370423,
        ]


class TestKeys:
    def test_every_part_counts_and_so_does_the_order(self) -> None:
        parts = [(), (0,), (1,), ("0",), (0, 0), (0, 1), (1, 0), ("a", "b"), ("b", "a"), ("ab",), (-1,), (2**63,)]
        assert len({derive_key(*part) for part in parts}) == len(parts)
        assert all(0 <= derive_key(*part) < 1 << 64 for part in parts)


class TestCounterRandom:
    def test_a_number_follows_from_key_and_counter(self) -> None:
        whole = CounterRandom(3, "test").uniforms(torch.arange(10_000))
        random = CounterRandom(3, "test")
        for start, n in [(9000, 5), (0, 1), (4095, 3), (0, 4096), (4096, 1), (17, 8200), (8191, 1), (5, 0)]:
            assert torch.equal(random.run(start, n), whole[start : start + n])
            counters = torch.arange(start, start + n).flip(0)
            assert torch.equal(random.uniforms(counters), whole[counters])
        assert not torch.equal(CounterRandom(4, "test").run(0, 100), whole[:100])
        assert not torch.equal(CounterRandom(3, "other").run(0, 100), whole[:100])

    @pytest.mark.parametrize("shape", [(), (0,), (5,), (3, 4)])
    def test_it_is_two_rounds_of_the_output_function(self, shape: tuple[int, ...]) -> None:
        random, inner, outer = CounterRandom(3, "test"), derive_key(3, "test", 0), derive_key(3, "test", 1)
        for counters in (torch.randint(-(1 << 63), (1 << 63) - 1, shape), torch.ones(shape).long() << 40):
            kept = counters.clone()
            draws = random.uniforms(counters)
            wanted = [mix(mix((i * GOLDEN + inner) & MASK) ^ outer) >> 11 for i in counters.view(-1).tolist()]
            assert draws.shape == shape
            assert draws.view(-1).tolist() == [number * 2.0**-53 for number in wanted]
            assert torch.equal(counters, kept)

    @pytest.mark.parametrize("start", [0, 1 << 40])
    def test_uniform(self, start: int) -> None:
        draws = CounterRandom(0).uniforms(torch.arange(start, start + 100_000))
        assert draws.dtype == torch.float64
        assert 0 <= draws.min() < draws.max() < 1
        assert share_p_value((draws * 64).long().bincount(minlength=64), torch.ones(64)) > ALPHA
        pairs = (draws[:-1] * 8).long() * 8 + (draws[1:] * 8).long()
        assert share_p_value(pairs[::2].bincount(minlength=64), torch.ones(64)) > ALPHA

    def test_neighbouring_keys_are_unrelated(self) -> None:
        one, other = (CounterRandom(seed, "slots").run(0, 4096) for seed in (0, 1))
        pairs = (one * 8).long() * 8 + (other * 8).long()
        assert share_p_value(pairs.bincount(minlength=64), torch.ones(64)) > ALPHA
        for shift in range(1, 50):
            assert not torch.isin(one[:50], other[shift : shift + 50]).any()


class TestStepRandom:
    def test_a_number_follows_from_step_and_place(self) -> None:
        asked = [(0, 3), (70, 5), (1, 600), (0, 40), (70, 600), (63, 1), (64, 512), (1, 513), (10**6, 4)]
        random, wide = StepRandom(5), {step: StepRandom(5).uniforms(step, 1000) for step, _ in asked}
        for step, n in asked:
            assert random.uniforms(step, n) == wide[step][:n]
        assert len({tuple(draws[:2]) for draws in wide.values()}) == len(wide)

    @pytest.mark.parametrize(
        ("n", "population"),
        [(1, 1), (5, 5), (5, 1000), (512, 512), (513, 513), (513, 2052), (513, 2053), (3000, 12_001)],
    )
    def test_distinct(self, n: int, population: int) -> None:
        random = StepRandom(1)
        draws = [random.distinct(step, n, population) for step in (0, 1, 200)]
        for drawn in draws:
            assert (drawn.dtype, drawn.shape) == (torch.int64, (n,))
            assert 0 <= drawn.min() <= drawn.max() < population
            assert len(drawn.unique()) == n
        assert torch.equal(StepRandom(1).distinct(200, n, population), draws[2])
        if population > 1:
            assert not torch.equal(draws[0], draws[1])

    def test_every_ordered_choice_is_equally_likely(self) -> None:
        random = StepRandom(2)
        counts = dict.fromkeys(permutations(range(5), 3), 0)
        for step in range(2000):
            counts[tuple(random.distinct(step, 3, 5).tolist())] += 1
        assert share_p_value(torch.tensor(list(counts.values())), torch.ones(60)) > ALPHA


class TestChoose:
    def test_it_shuffles(self) -> None:
        assert choose("abc", [0.0, 0.0, 0.0]) == ["a", "b", "c"]
        assert choose("abc", [0.99, 0.99, 0.99]) == ["c", "a", "b"]
        assert choose("abcd", [0.5, 0.0]) == ["c", "b"]
        assert choose("abc", []) == []

    def test_each_combination_of_draws_gives_another_order(self) -> None:
        grid = [(a / 4, b / 3, c / 2, 0.0) for a in range(4) for b in range(3) for c in range(2)]
        assert len({tuple(choose(range(4), draws)) for draws in grid}) == math.factorial(4)


def test_integers() -> None:
    assert integers([3, -(2**63), 2**63 - 1]).tolist() == [3, -(2**63), 2**63 - 1]
    assert integers([]).dtype == integers([1]).dtype == torch.int64
    assert len(integers(())) == 0
