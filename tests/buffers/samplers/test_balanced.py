from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from redwood.buffers import ClassBalanced, Grasp, GreedyBalanced, RehearsalBuffer, Sampler, TaskBalanced
from redwood.buffers.samplers.counts import water_fill
from tests.buffers.helpers import feed, shuffled
from tests.buffers.statistics import ALPHA, draw_p_value, share_p_value

SIZES = [40, 25, 3, 12]


def groups_of_classes(sampler: Callable[[], Sampler], labels: Tensor) -> RehearsalBuffer:
    """Samples of these labels; for `TaskBalanced` they are tasks instead."""
    buffer = RehearsalBuffer(len(labels), policy=GreedyBalanced(), sampler=sampler())
    feed(buffer, 2 * labels if sampler is TaskBalanced else labels, 9)
    return buffer


@pytest.mark.parametrize("sampler", [ClassBalanced, TaskBalanced, Grasp])
class TestShares:
    @pytest.mark.parametrize("n", [1, 2, 4, 7, 12, 13, 30, 70, 80])
    def test_groups_differ_by_one_unless_exhausted(self, sampler: type[Sampler], n: int) -> None:
        labels = torch.arange(4).repeat_interleave(torch.tensor(SIZES))
        buffer = groups_of_classes(sampler, labels)
        for _ in range(20):
            counts = labels[buffer.draw(n)].bincount(minlength=4).tolist()
            assert sum(counts) == n
            most = max(counts)
            assert all(count >= most - 1 or count == size for count, size in zip(counts, SIZES, strict=True))

    def test_what_is_left_over_goes_to_any_group(self, sampler: type[Sampler]) -> None:
        labels = torch.arange(5).repeat_interleave(8)
        buffer = groups_of_classes(sampler, labels)
        counts = torch.stack([labels[buffer.draw(7)].bincount(minlength=5) for _ in range(600)])
        assert set(counts.unique().tolist()) == {1, 2}
        assert draw_p_value((counts - 1).sum(0), 2, 600) > ALPHA

    def test_uniform_within_a_group(self, sampler: type[Sampler]) -> None:
        labels = torch.arange(2).repeat_interleave(torch.tensor([30, 12]))
        buffer = groups_of_classes(sampler, labels)
        drawn = torch.stack([buffer.draw(8) for _ in range(600)])
        for name in range(2):
            counts = drawn.flatten().bincount(minlength=42)[labels == name]
            assert draw_p_value(counts, 4, 600) > ALPHA

    def test_large_draws(self, sampler: type[Sampler]) -> None:
        labels = torch.arange(3).repeat_interleave(400)
        buffer = groups_of_classes(sampler, labels)
        drawn = torch.stack([buffer.draw(900) for _ in range(40)])
        assert all(len(set(slots)) == 900 for slots in drawn.tolist())
        assert (labels[drawn[0]].bincount() == 300).all()
        assert draw_p_value(drawn.flatten().bincount(minlength=1200)[:400], 300, 40) > ALPHA


def test_rows_that_change_their_class() -> None:
    buffer = RehearsalBuffer(30, sampler=ClassBalanced(), seed=2)
    for name in range(6):
        feed(buffer, torch.full((60,), name), start=60 * name)
        classes = buffer.read(buffer.draw(6))["y"]
        n_stored = len(buffer.class_counts())
        assert len(classes.unique()) == min(6, n_stored)


class TestFairShares:
    def test_against_dealing_out_one_by_one(self) -> None:
        generator = torch.Generator().manual_seed(0)
        for _ in range(200):
            k = int(torch.randint(1, 8, (1,), generator=generator))
            sizes = dict(enumerate((torch.randint(1, 9, (k,), generator=generator)).tolist()))
            n = int(torch.randint(0, sum(sizes.values()) + 1, (1,), generator=generator))
            order = torch.randperm(k, generator=generator).tolist()
            shares = dict.fromkeys(sizes, 0)
            while sum(shares.values()) < n:
                for group in order:
                    if shares[group] < sizes[group] and sum(shares.values()) < n:
                        shares[group] += 1
            assert water_fill(sizes, n, order) == shares

    def test_order_of_groups_is_fair(self) -> None:
        labels = torch.arange(4).repeat_interleave(5)
        buffer = groups_of_classes(ClassBalanced, labels)
        singles = labels[torch.cat([buffer.draw(1) for _ in range(800)])]
        assert share_p_value(singles.bincount(), torch.ones(4)) > ALPHA


class TestOneTableOfClasses:
    """A policy that keeps account of the classes shares its table with the sampler."""

    @pytest.mark.parametrize("sampler", [ClassBalanced, Grasp])
    def test_both_use_it_also_once_restored(self, sampler: type[ClassBalanced]) -> None:
        buffer, restored = (RehearsalBuffer(12, policy="class_balanced", sampler=sampler()) for _ in range(2))
        feed(buffer, shuffled(list(range(4)) * 20))
        restored.load_state_dict(buffer.state_dict())
        for each in (buffer, restored):
            assert each.sampler.groups is each.policy.classes  # type: ignore[attr-defined]
        feed(restored, shuffled(list(range(4)) * 20))
        assert restored.sampler.groups.of_all().tolist() == restored.all()["y"].tolist()  # type: ignore[attr-defined]

    def test_tasks_have_their_own(self) -> None:
        buffer = RehearsalBuffer(12, policy="class_balanced", sampler="task_balanced")
        feed(buffer, shuffled(list(range(4)) * 20))
        assert buffer.sampler.groups.of_all().tolist() == buffer.all()["task_id"].tolist()  # type: ignore[attr-defined]

    def test_a_capacity_in_bytes(self) -> None:
        buffer = RehearsalBuffer(n_bytes=600, policy="class_balanced", sampler="class_balanced")
        feed(buffer, torch.arange(30) % 3)
        assert buffer.sampler.groups is buffer.policy.classes  # type: ignore[attr-defined]
        assert len(buffer.draw(6)) == 6
