"""Where boundaries are not announced, held-out samples show no more of the stream than training has shown."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from redwood.core.errors import InvalidOptionError
from redwood.settings import ClassSplit
from redwood.settings.data.entries import Entries
from redwood.settings.streams.held_out import held_out_along
from tests.samples import numbered
from tests.small_runs import small_setting

KEYS = ("continual", "task_agnostic")


def entries(rows, tasks=None):
    rows = torch.tensor(rows)
    return Entries(rows, torch.zeros_like(rows) if tasks is None else torch.tensor(tasks))


class TestHeldOutAlong:
    def test_what_is_left_keeps_its_order(self):
        rest, aside = held_out_along(entries([3, 1, 4, 0, 2]), entries([0, 1]), n_rows=5, seed=0)
        assert rest.rows.tolist() == [3, 4, 2]
        assert dict(zip(aside.entries.rows.tolist(), aside.after.tolist(), strict=True)) == {1: 1, 0: 2}

    def test_rows_that_tasks_share(self):
        rest, aside = held_out_along(entries([0, 1, 0, 1], [0, 0, 1, 1]), entries([0], [1]), n_rows=2, seed=0)
        assert (rest.rows.tolist(), rest.tasks.tolist()) == ([0, 1, 1], [0, 0, 1])
        assert (aside.entries.tasks.tolist(), aside.after.tolist()) == ([1], [2])

    def test_they_are_mixed(self):
        _, aside = held_out_along(entries(list(range(100))), entries(list(range(0, 100, 2))), n_rows=100, seed=0)
        rows = aside.entries.rows.tolist()
        assert sorted(rows) == list(range(0, 100, 2))
        assert 0.3 < sum(a < b for a, b in pairwise(rows)) / 49 < 0.7


def shown(phase):
    return {int(value) for batch in phase.validation for value in batch.x[:, 0]}


class TestPhase:
    @pytest.fixture(params=KEYS)
    def phase(self, request):
        options = {
            "dataset": numbered(),
            "stream": ClassSplit(class_order=range(6)),
            "batch_size": 2,
            "validation": 0.3,
        }
        return next(small_setting(request.param, **options).phases())

    def test_nothing_is_shown_at_first_and_all_in_the_end(self, phase):
        assert shown(phase) == set()
        trained = {int(value) for batch in phase.train for value in batch.x[:, 0]}
        assert shown(phase) == set(range(66)) - trained
        assert len(shown(phase)) == 18
        assert len(list(phase.validation)) == len(phase.validation) == 9

    def test_more_is_shown_as_the_stream_goes_on_and_nothing_is_taken_back(self, phase):
        sets = [shown(phase) for _ in phase.train]
        assert all(a <= b for a, b in pairwise(sets))
        assert len({len(found) for found in sets}) > 12

    def test_no_class_is_shown_before_the_stream_may_show_it(self):
        """Tasks come one after the other: held-out samples of a later one cannot come before the first of it."""
        data = numbered()
        options = {
            "dataset": data,
            "stream": ClassSplit(class_order=range(6)),
            "batch_size": 2,
            "validation": 0.3,
            "passes": 1,
        }
        phase = next(small_setting("task_agnostic", **options).phases())
        latest = 0
        for batch in phase.train:
            latest = max(latest, int(batch.y.max()) // 2)
            assert {int(data.y[row]) // 2 for row in shown(phase)} <= set(range(latest + 1))

    def test_no_ids(self, phase):
        for loader in (phase.train, phase.validation):
            assert {batch.task_id for batch in loader} == {None}


def reached(validation):
    phase = next(small_setting("continual", dataset=numbered(), batch_size=2, validation=validation).phases())
    return [[int(value) for batch in phase.validation for value in batch.x[:, 0]] for _ in phase.train]


def test_two_workers_share_what_has_been_reached(two_workers):
    mine, others = two_workers.run(reached, 0.3)
    assert len(mine) == len(others)
    for own, other in zip(mine, others, strict=True):
        assert not set(own) & set(other)
    assert len(mine[-1]) + len(others[-1]) == 18


class TestMask:
    """Samples that the data set itself keeps for validation."""

    @pytest.mark.parametrize("key", ["continual", "class_incremental", "cumulative", "traditional", "task_incremental"])
    def test_they_are_the_validation_samples_of_their_task(self, key):
        data = numbered()
        mask = torch.arange(len(data.y)) % 3 == 0
        setting = small_setting(
            key, dataset=replace(data, validation=mask), stream=ClassSplit(class_order=range(6)), passes=1
        )
        marked = set(mask.nonzero().flatten().tolist())
        for phase in setting.phases():
            trained = {int(value) for batch in phase.train for value in batch.x[:, 0]}
            assert not trained & marked
            labels = data.y[sorted(trained)].unique()
            assert shown(phase) == marked & set(torch.isin(data.y, labels).nonzero().flatten().tolist())

    def test_environments_of_the_samples_leave_them_out(self):
        data = numbered()
        data = replace(data, validation=torch.arange(len(data.y)) % 3 == 0)
        x, _ = small_setting("class_incremental", dataset=data).open_stream().samples_of(0)
        assert len(x) and not (x[:, 0].long() % 3 == 0).any()

    def test_a_share_beside_it_is_refused(self):
        data = replace(numbered(), validation=torch.arange(66) % 3 == 0)
        with pytest.raises(InvalidOptionError, match=r"--validation 0.2 .* numbered, which names its validation"):
            small_setting("class_incremental", dataset=data, validation=0.2).open_stream()
