import pytest
import torch

from redwood.settings.data.entries import Entries
from redwood.settings.streams.order import abrupt, blurry, gradual, shuffled, task_entries

SIZES = (200, 300, 400)


@pytest.fixture
def tasks():
    rows = torch.arange(sum(SIZES)).split(SIZES)
    return task_entries(rows)


def rows_of(entries):
    return entries.rows.tolist()


def assert_same_samples(entries, tasks):
    """Each sample is there once, and still belongs to its task."""
    whole = Entries.concatenate(tasks)
    order = torch.argsort(entries.rows)
    assert torch.equal(entries.rows[order], whole.rows)
    assert torch.equal(entries.tasks[order], whole.tasks)


class TestEntries:
    def test_task_entries_number_the_tasks(self, tasks):
        assert [len(part) for part in tasks] == list(SIZES)
        assert [set(part.tasks.tolist()) for part in tasks] == [{0}, {1}, {2}]

    def test_shuffled_depends_on_the_seed(self, tasks):
        first, again, other = (shuffled(tasks[0], seed) for seed in (0, 0, 1))
        assert rows_of(first) == rows_of(again) != rows_of(other)
        assert_same_samples(first, tasks[:1])


class TestAbrupt:
    def test_tasks_come_one_after_the_other_each_shuffled(self, tasks):
        stream = abrupt(tasks, seed=0)
        assert stream.tasks.tolist() == sorted(stream.tasks.tolist())
        assert_same_samples(stream, tasks)
        assert rows_of(stream)[:200] != list(range(200))


class TestBlurry:
    @pytest.mark.parametrize("share", [0.0, 0.1, 0.55, 1.0])
    def test_the_share_of_each_task_turns_up_in_the_others_in_equal_parts(self, tasks, share):
        phases = blurry(tasks, share, seed=0)
        counts = torch.stack([torch.bincount(phase.tasks, minlength=3) for phase in phases])
        for number, size in enumerate(SIZES):
            elsewhere = [int(counts[phase, number]) for phase in range(3) if phase != number]
            assert sum(elsewhere) == round(share * size)
            assert max(elsewhere) - min(elsewhere) <= 1
        assert_same_samples(Entries.concatenate(phases), tasks)

    def test_moved_samples_are_drawn_by_the_seed(self, tasks):
        first, again, other = (blurry(tasks, 0.3, seed)[0] for seed in (0, 0, 9))
        assert rows_of(first) == rows_of(again) != rows_of(other)

    def test_a_single_task_stays_as_it_is(self, tasks):
        (phase,) = blurry(tasks[:1], 0.5, seed=0)
        assert rows_of(phase) == rows_of(tasks[0])


class TestGradual:
    @pytest.fixture
    def many(self):
        return task_entries(torch.arange(20_000).split(5_000))

    def test_no_sample_is_lost(self, tasks):
        assert_same_samples(gradual(tasks, 1.0, seed=0), tasks)

    def test_without_overlap_tasks_are_apart(self, tasks):
        stream = gradual(tasks, 0.0, seed=0)
        assert stream.tasks.tolist() == sorted(stream.tasks.tolist())

    @pytest.mark.parametrize("width", [0.5, 1.0])
    def test_a_task_lies_where_the_formula_says(self, many, width):
        # Task 1 comes at times 1 + u + width (v - 1/2): mean 3/2, variance (1 + width^2) / 12. Away from the ends of
        # the stream the place in it, in tasks, is the time.
        place = torch.arange(20_000) / 5_000
        times = place[gradual(many, width, seed=3).tasks == 1]
        assert float(times.mean()) == pytest.approx(1.5, abs=0.03)
        assert float(times.var()) == pytest.approx((1 + width**2) / 12, rel=0.1)

    def test_the_share_of_the_new_task_grows_around_the_boundary(self, many):
        stream = gradual(many, 1.0, seed=0)
        windows = stream.tasks[7_500:12_500].split(1_000)
        shares = [float((window == 2).float().mean()) for window in windows]
        assert shares == sorted(shares)
        assert shares[0] < 0.2
        assert shares[2] == pytest.approx(0.5, abs=0.06)
        assert shares[-1] > 0.8

    def test_the_order_depends_on_the_seed(self, tasks):
        first, again, other = (gradual(tasks, 1.0, seed) for seed in (0, 0, 1))
        assert rows_of(first) == rows_of(again) != rows_of(other)
