"""Draws from all workers have the distributions that they should have; that the checks reject others is tested in
tests/buffers/distributed/test_statistics.py."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch.nn.functional import one_hot

from redwood.buffers import ClassBalanced, Grasp, MaximallyInterfered, OldTasks, Sampler, TaskBalanced, Uniform
from redwood.buffers.samplers.counts import GroupCounts
from tests.buffers.distributed.checks import (
    Z_LIMIT,
    Draws,
    disjoint_rejections,
    in_turns,
    is_disjoint,
    joint,
    n_unreachable,
    overlap_z_score,
)
from tests.buffers.samplers.all_workers import drawn, group_counts_of, planned, rows_of
from tests.buffers.statistics import ALPHA, draw_p_value

SHARED = [Uniform, ClassBalanced, TaskBalanced, OldTasks]
# Twelve classes of three tasks; one worker is empty, and others have classes that nobody else has.
CLASSES = [[4, 3, 0, 5, 1, 1, 6, 0, 2, 3, 9, 4], [0] * 12, [3] * 12, [1, 0, 2] + [0] * 8 + [7]]
TASKS = [[sum(sizes[i : i + 4]) for i in (0, 4, 8)] for sizes in CLASSES]


def pooled(counts: list[list[int]]) -> GroupCounts:
    """The same rows, which `Uniform` does not tell apart."""
    return group_counts_of([[sum(sizes)] for sizes in counts])


class TestUniform:
    @pytest.mark.parametrize("n", [1, 2, 7])
    @pytest.mark.few(1)
    def test_all_checks(self, n: int) -> None:
        draws = drawn(Uniform, pooled(CLASSES), n, 4000, seed=1)
        assert is_disjoint(draws)
        assert disjoint_rejections(draws._replace(labels=rows_of(torch.tensor(CLASSES)).group)) == {}

    @pytest.mark.parametrize("n", [12, 20, 21])
    def test_together_workers_draw_up_to_all_rows(self, n: int) -> None:
        """84 rows: 21 for each worker are all of them."""
        draws = drawn(Uniform, pooled(CLASSES), n, 2000)
        assert disjoint_rejections(draws._replace(labels=rows_of(torch.tensor(CLASSES)).group)) == {}

    @pytest.mark.parametrize("n", [22, 41, 42, 60, 83])
    @pytest.mark.few(2)
    def test_large_draws(self, n: int) -> None:
        """84 rows: from 43 on it is drawn what is left out."""
        draws = drawn(Uniform, pooled(CLASSES), n, 400)
        counts = draws.trials.flatten().bincount(minlength=84)
        assert draw_p_value(counts, n, len(draws.trials)) > ALPHA
        owners = draws.owners.bincount()
        of_owners = draws.owners[draws.trials].flatten().bincount()
        assert draw_p_value(of_owners[owners > 0], n, len(draws.trials), owners[owners > 0]) > ALPHA
        assert all(abs(overlap_z_score(draws, lag)) < Z_LIMIT for lag in (0, 1))

    def test_many_workers(self) -> None:
        """128,000 draws find a worker that is preferred by a tenth."""
        draws = drawn(Uniform, group_counts_of([[40]] * 5 + [[0]] + [[25]] * 10), 16, 500)
        together = joint(draws)
        counts, sizes = draws.owners[draws.trials].flatten().bincount(), draws.owners.bincount()
        stored = sizes > 0
        assert draw_p_value(counts[stored], 256, 500, sizes[stored]) > ALPHA
        assert draw_p_value(draws.trials.flatten().bincount(), 256, 500) > ALPHA
        assert all(len(ids.unique()) == 256 for ids in together.ids[0])
        assert all(abs(overlap_z_score(together, lag)) < Z_LIMIT for lag in (1, 2))

    @pytest.mark.parametrize(("sizes", "n"), [([70] * 20, 60), ([0, 900, 1] + [33] * 17, 70), ([400] * 17, 64)])
    @pytest.mark.few(1)
    def test_draws_by_a_keyed_permutation(self, sizes: list[int], n: int) -> None:
        """More than 1,024 rows in a step, of hardly more rows or of many times as many."""
        draws = drawn(Uniform, group_counts_of([[size] for size in sizes]), n, 1000)
        workers = torch.tensor(sizes)
        stored, together, r = workers > 0, joint(draws), len(sizes) * n
        assert all(len(ids.unique()) == r for ids in together.ids[0])
        for some, m in ((in_turns(draws), n), (together, r)):
            assert draw_p_value(some.trials.flatten().bincount(minlength=sum(sizes)), m, 1000) > ALPHA
            counts = draws.owners[some.trials].flatten().bincount(minlength=len(sizes))
            # The one of two samples is not expected five times.
            of_many = stored & (workers > 1)
            if bool((stored == of_many).all()):
                assert draw_p_value(counts[stored], m, 1000, workers[stored]) > ALPHA
        assert all(abs(overlap_z_score(together, lag)) < Z_LIMIT for lag in (1, 2))
        # How many rows of a draw come from one worker is as variable as it should be, not only right on average.
        largest = int(workers.argmax())
        found = (draws.owners[in_turns(draws).ids[0]] == largest).sum(1).double()
        share = sizes[largest] / sum(sizes)
        variance = n * share * (1 - share) * (sum(sizes) - n) / (sum(sizes) - 1)
        assert abs(float(((found - n * share) ** 2).mean()) / variance - 1) < Z_LIMIT * (2 / 1000) ** 0.5

    def test_two_seeds_and_far_steps_are_independent(self) -> None:
        group_counts = pooled(CLASSES)
        one = drawn(Uniform, group_counts, 7, 800)
        for other in (drawn(Uniform, group_counts, 7, 800, seed=seed) for seed in (1, 2)):
            both = Draws(torch.cat([joint(one).ids, joint(other).ids]), one.owners, one.labels)
            assert all(abs(overlap_z_score(both, lag)) < Z_LIMIT for lag in (0, 1))

    def test_no_two_streams_are_identical(self) -> None:
        group_counts = group_counts_of([[500]] * 8)
        streams = [drawn(Uniform, group_counts, 3, 2, seed=seed).ids.flatten(1) for seed in range(60)]
        assert len(torch.cat(streams).unique(dim=0)) == 8 * 60


class TestBalanced:
    @pytest.mark.parametrize("n", [1, 5, 12, 24, 30])
    def test_shares(self, n: int) -> None:
        """Every class has at least three rows, so up to 36 draws are shared out evenly."""
        draws = drawn(ClassBalanced, group_counts_of(CLASSES), n, 400)
        shares = one_hot(draws.labels[draws.trials], 12).sum(1)
        level, rest = divmod(n, 12)
        assert ((shares == level) | (shares == level + 1)).all()
        if rest:
            assert draw_p_value((shares - level).sum(0), rest, len(shares)) > ALPHA

    @pytest.mark.parametrize("n", [9, 21, 40])
    def test_rows_of_a_group_are_equally_likely(self, n: int) -> None:
        """The smallest task has 17 rows; nobody else has one more if the draws divide."""
        counts = [[11, 5, 20], [0, 0, 0], [4, 9, 0], [1, 0, 30]]
        draws = drawn(TaskBalanced, group_counts_of(counts), n // 3 * 3, 500)
        found = draws.trials.flatten().bincount(minlength=80)
        share = n // 3
        for group in range(3):
            rows = found[draws.labels == group]
            assert draw_p_value(rows, min(share, len(rows)), len(draws.trials)) > ALPHA / 3

    def test_groups_that_run_out(self) -> None:
        """14 rows of group 1 are all drawn, and what they lack of a third comes from the others."""
        draws = drawn(TaskBalanced, group_counts_of([[11, 5, 20], [0, 0, 0], [40, 9, 0]]), 55, 60)
        shares = one_hot(draws.labels[draws.trials], 3).sum(1)
        assert (shares == torch.tensor([21, 14, 20])).all()
        assert (draws.trials.flatten().bincount()[draws.labels == 1] == 180).all()

    def test_workers_and_steps_are_independent(self) -> None:
        """Within a group of 8 rows, of which every draw takes two."""
        draws = drawn(ClassBalanced, group_counts_of([[5, 0, 8], [3, 8, 0]]), 6, 1500)
        for group in range(3):
            mine = draws.ids[draws.labels[draws.ids] == group].view(2, 1500, 2)
            position = (draws.labels == group).cumsum(0) - 1
            part = Draws(position[mine], draws.owners[draws.labels == group], torch.zeros(8).long())
            assert all(abs(overlap_z_score(part, lag)) < Z_LIMIT for lag in (0, 1))

    def test_groups_are_drawn_independently(self) -> None:
        """With one draw from two of four groups, all six pairs are equally likely, on all workers."""
        draws = drawn(ClassBalanced, group_counts_of([[5, 1, 8, 2], [3, 8, 0, 1]]), 2, 1500)
        pairs = (1 << draws.labels[draws.trials]).sum(1)
        assert draw_p_value(one_hot(draws.labels[draws.trials], 4).sum((0, 1)), 2, 3000) > ALPHA
        one, other = (1 << draws.labels[draws.ids]).sum(2)
        assert len(pairs.unique()) == 6
        assert abs(int((one == other).sum()) - 1500 / 6) < Z_LIMIT * (1500 * 5 / 36) ** 0.5


class TestOldTasks:
    @pytest.mark.parametrize("n", [1, 7, 20, 50])
    def test_the_current_task_is_never_drawn_and_the_others_uniformly(self, n: int) -> None:
        draws = drawn(OldTasks, group_counts_of(TASKS, current=11), n, 400)
        assert not (draws.labels == 1).any()
        counts = draws.trials.flatten().bincount(minlength=len(draws.owners))
        n_trials = len(draws.trials)
        if 4 * n <= int((draws.labels != 1).sum()):  # disjoint
            assert all(len(ids.unique()) == 4 * n for ids in joint(draws).ids[0])
            n, n_trials = 4 * n, 400
        assert draw_p_value(counts[draws.labels != 1], n, n_trials) > ALPHA
        assert n_unreachable(draws._replace(owners=draws.owners[draws.labels != 1])) == 0

    def test_workers_that_train_different_tasks(self) -> None:
        current = [11, -1, 10, 11]
        plans, rows = planned(OldTasks, group_counts_of(TASKS, current), 6, 800), rows_of(torch.tensor(TASKS))
        ids = torch.stack([plan.rows.view(4, 6) for plan in plans], 1)
        for mine, task in zip(ids, current, strict=True):
            old = rows.group != task - 10
            counts = mine.flatten().bincount(minlength=84)
            assert not counts[~old].any()
            assert draw_p_value(counts[old], 6, 800) > ALPHA / 4
        alike = Draws(ids[[0, 3]], rows.owner, rows.group)
        alike = Draws((rows.group != 1).cumsum(0)[alike.ids] - 1, rows.owner[rows.group != 1], rows.group)
        assert all(abs(overlap_z_score(alike, lag)) < Z_LIMIT for lag in (0, 1))

    def test_who_knows_no_old_task_draws_nothing(self) -> None:
        (plan,) = planned(OldTasks, group_counts_of([[5, 0], [9, 0], [4, 0]], [10, -1, 11]), 7, 1)
        assert plan.drawn.tolist() == [0, 7, 7]
        (plan,) = planned(OldTasks, group_counts_of([[5], [9]], 10), 7, 1)
        assert plan.drawn.tolist() == [0, 0]


@pytest.mark.parametrize("sampler", SHARED)
class TestLimits:
    @pytest.mark.parametrize("n", [1, 83, 84, 85, 1000])
    def test_no_row_comes_twice_and_all_that_there_are_come(self, sampler: type[Sampler], n: int) -> None:
        group_counts = pooled(CLASSES) if sampler is Uniform else group_counts_of(TASKS)
        reached = torch.zeros(84, dtype=torch.bool)
        for plan in planned(sampler, group_counts, n, 120):
            assert (plan.drawn == min(n, 84)).all()
            reached[plan.rows.long()] = True
        assert reached.all()

    @pytest.mark.parametrize("counts", [[[0], [0]], [[0]], [[0, 0], [0, 0]], [[], []]])
    def test_nothing_is_stored(self, sampler: type[Sampler], counts: list[list[int]]) -> None:
        (plan,) = planned(sampler, group_counts_of(counts), 5, 1)
        assert plan.drawn.tolist() == [0] * len(counts)
        assert len(plan.rows) == 0

    @pytest.mark.parametrize("counts", [[[1]], [[0], [1], [0]], [[0, 0, 1]]])
    def test_a_single_row(self, sampler: type[Sampler], counts: list[list[int]]) -> None:
        (plan,) = planned(sampler, group_counts_of(counts), 5, 1)
        assert plan.rows.tolist() == [0] * len(counts)


@contextmanager
def n_threads(n: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("sampler", SHARED)
@pytest.mark.parametrize(("counts", "n"), [(TASKS, 7), (TASKS, 60), ([[300, 200], [1, 90]] * 200, 40)])
class TestEveryWorkerPlansTheSame:
    def plans(self, sampler: type[Sampler], counts: list[list[int]], n: int) -> torch.Tensor:
        group_counts = group_counts_of(counts, [10 + i % 2 for i in range(len(counts))])
        return torch.cat([torch.cat([plan.drawn, plan.rows.long()]) for plan in planned(sampler, group_counts, n, 3)])

    def test_with_any_number_of_threads(self, sampler: type[Sampler], counts: list[list[int]], n: int) -> None:
        found = []
        for threads in (1, 2):
            with n_threads(threads):
                found.append(self.plans(sampler, counts, n))
        assert torch.equal(*found)

    def test_whatever_the_memory_of_the_counts(self, sampler: type[Sampler], counts: list[list[int]], n: int) -> None:
        groups, table, current = group_counts_of(counts)
        spread = GroupCounts(groups, table.repeat_interleave(2, 1)[:, ::2], current)
        one, other = (
            planned(sampler, group_counts, n, 1)[0] for group_counts in (GroupCounts(groups, table, current), spread)
        )
        assert torch.equal(one.rows, other.rows)


def test_what_can_be_drawn_from_several_workers() -> None:
    assert all(sampler.shared for sampler in SHARED)
    assert not MaximallyInterfered.shared
    assert not Grasp.shared
