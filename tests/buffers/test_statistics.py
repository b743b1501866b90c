"""Draws and decisions have the distributions that they should have, and the checks reject ones that have not."""

import math
import warnings

import pytest
import torch
from torch import Tensor

from redwood.buffers import (
    SAMPLERS,
    ClassBalanced,
    Grasp,
    GreedyBalanced,
    OldTasks,
    RehearsalBuffer,
    Sampler,
    Uniform,
)
from tests.buffers.helpers import feed, fill, score
from tests.buffers.statistics import ALPHA, chi_square_tail, draw_p_value, share_p_value, z_score

N_SEEN = 12  # classes, four in each task


def buffer_of(labels: Tensor, sampler: Sampler, seed: int = 0) -> RehearsalBuffer:
    """All samples of these labels, each in the slot of its number."""
    buffer = RehearsalBuffer(len(labels), policy=GreedyBalanced(), sampler=sampler, seed=seed)
    feed(buffer, labels, len(labels))
    return buffer


def draws(buffer: RehearsalBuffer, n: int, n_trials: int) -> Tensor:
    return torch.stack([buffer.draw(n) for _ in range(n_trials)])


def sample_level(slots: Tensor, n_stored: int) -> float:
    """T1: p-value of all samples being drawn equally often, of draws (T, n)."""
    return draw_p_value(slots.flatten().bincount(minlength=n_stored), slots.shape[1], len(slots))


def group_level(slots: Tensor, groups: Tensor) -> float:
    """T2: p-value of groups being drawn as often as they are stored."""
    counts = groups[slots].flatten().bincount(minlength=int(groups.max()) + 1)
    return draw_p_value(counts, slots.shape[1], len(slots), groups.bincount())


def n_repeated(slots: Tensor) -> int:
    """T4: number of draws (T, n) in which a sample comes twice."""
    return sum(len(set(draw)) < len(draw) for draw in slots.tolist())


class TestCheck:
    def test_tail_of_the_chi_square_distribution(self) -> None:
        assert chi_square_tail(18.307038, 10) == pytest.approx(0.05, abs=1e-7)
        assert chi_square_tail(10.827566, 1) == pytest.approx(1e-3, abs=1e-8)

    def test_its_p_values_are_uniform_where_the_uncorrected_ones_are_not(self) -> None:
        def p_values(correct: bool) -> Tensor:
            found = []
            for seed in range(300):
                drawn = draws(buffer_of(torch.zeros(40).long(), Uniform(), seed), 20, 12)
                counts = drawn.flatten().bincount(minlength=40)
                found.append(draw_p_value(counts, 20, 12) if correct else share_p_value(counts, torch.ones(40)))
            return (torch.tensor(found) * 5).long().bincount(minlength=5)

        assert share_p_value(p_values(True), torch.ones(5)) > ALPHA
        assert share_p_value(p_values(False), torch.ones(5)) < ALPHA


class TestUniformDraws:
    # The last two are drawn in tensors, by sorting and by rejection.
    @pytest.mark.parametrize(
        ("n_stored", "n", "n_trials"),
        [
            (50, 1, 3000),
            (50, 7, 2000),
            (50, 49, 1000),
            (300, 200, 300),
            (600, 599, 300),
            (600, 520, 300),
            (4000, 520, 300),
        ],
    )
    def test_every_sample_is_equally_likely(self, n_stored: int, n: int, n_trials: int) -> None:
        slots = draws(buffer_of(torch.zeros(n_stored).long(), Uniform()), n, n_trials)
        assert sample_level(slots, n_stored) > ALPHA
        assert n_repeated(slots) == 0
        assert (slots == 0).any()
        assert (slots == n_stored - 1).any()

    @pytest.mark.parametrize("n", [1, 7, 30, 100])
    def test_classes_and_tasks_come_as_often_as_they_are_stored(self, n: int) -> None:
        labels = torch.arange(N_SEEN).repeat_interleave(torch.arange(N_SEEN) + 2)
        slots = draws(buffer_of(labels, Uniform()), min(n, len(labels) - 1), 1000)
        assert group_level(slots, labels) > ALPHA
        assert group_level(slots, labels // 4) > ALPHA

    @pytest.mark.parametrize(("n_stored", "n"), [(30, 30), (600, 600)])
    def test_all_that_is_stored(self, n_stored: int, n: int) -> None:
        slots = draws(buffer_of(torch.zeros(n_stored).long(), Uniform()), n, 20)
        assert (slots.sort().values == torch.arange(n_stored)).all()

    def test_order_is_random(self) -> None:
        slots = draws(buffer_of(torch.zeros(4).long(), Uniform()), 4, 2400)
        orders = (slots * torch.tensor([64, 16, 4, 1])).sum(1).unique(return_counts=True)[1]
        assert len(orders) == math.factorial(4)
        assert share_p_value(orders, torch.ones(24)) > ALPHA

    @pytest.mark.parametrize("n_stored", [600, 4000])
    @pytest.mark.parametrize("place", [0, 250, 519])
    def test_order_of_large_draws_is_random(self, n_stored: int, place: int) -> None:
        slots = draws(buffer_of(torch.zeros(n_stored).long(), Uniform()), 520, 300)[:, place]
        assert share_p_value((slots * 10 // n_stored).bincount(minlength=10), torch.ones(10)) > ALPHA


class TestDrawsOfEverySampler:
    @pytest.mark.parametrize("name", SAMPLERS)
    @pytest.mark.parametrize("n", [1, 7, 59, 60, 75])
    @pytest.mark.parametrize("n_stored", [60, 13])
    def test_no_sample_comes_twice(self, name: str, n: int, n_stored: int) -> None:
        buffer = RehearsalBuffer(60, sampler=SAMPLERS[name](), seed=3)
        feed(buffer, torch.arange(n_stored) * 6 // n_stored, 5)
        n_choices = int((buffer.all()["task_id"] < 2).sum()) if name == "old_tasks" else n_stored
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            drawn = [buffer.draw(n, rate=score).tolist() for _ in range(30)]
        assert all(len(slots) == len(set(slots)) == min(n, n_choices) for slots in drawn)
        assert all(0 <= slot < len(buffer) for slots in drawn for slot in slots)

    @pytest.mark.parametrize("sampler", [Uniform, ClassBalanced, OldTasks, Grasp])
    @pytest.mark.few(1)
    def test_two_seeds_and_two_steps_are_independent(self, sampler: type[Sampler]) -> None:
        n_stored, n, n_trials = 200, 20, 1500
        labels = torch.arange(n_stored) // 100
        if sampler is OldTasks:
            labels = torch.cat([labels, torch.tensor([2])])  # begins the next task
        one, other = (draws(buffer_of(labels, sampler(), seed), n, n_trials) for seed in (1, 2))
        # What grasp has drawn it draws again last.
        pairs = ((one, other),) if sampler is Grasp else ((one, other), (one[1:], one[:-1]))
        for first, second in pairs:
            overlaps = torch.tensor(
                [len(set(a) & set(b)) for a, b in zip(first.tolist(), second.tolist(), strict=True)]
            )
            assert abs(z_score(overlaps, n * n / n_stored)) < 3.3


class TestInclusion:
    def test_through_the_buffer(self) -> None:
        n_trials, counts = 300, torch.zeros(40)
        for seed in range(n_trials):
            buffer = RehearsalBuffer(8, seed=seed)
            fill(buffer, 40, 7)
            counts[buffer.sample(8)["id"]] += 1
        assert draw_p_value(counts, 8, n_trials) > ALPHA
