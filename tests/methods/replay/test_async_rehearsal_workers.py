"""Asynchronous rehearsal by two workers."""

from dataclasses import dataclass

import pytest
import torch

from redwood.methods.replay.async_rehearsal import AsyncRehearsal
from tests.methods.helpers import numbers, weights_of
from tests.samples import N_TRAIN, numbered
from tests.small_runs import comparable, run_here, small_setting

SIZE, BATCH = 21, 8


class Noting:
    """Notes what comes in and what is replayed."""

    def configure(self, setting):
        super().configure(setting)
        self.incoming, self.replays = [], []

    def augment(self, step):
        super().augment(step)
        self.incoming.append(numbers(step.incoming.x))
        self.replays.append([] if step.replayed is None else numbers(step.replayed.rows["x"]))


@dataclass
class NotingRehearsal(Noting, AsyncRehearsal):
    """Stores samples alone."""

    buffer_size: int = SIZE  # samples that the buffer holds, over all workers


def rehearse(**options):
    """What comes in and is replayed on this worker, what it stores, its weights, and the results."""
    method = NotingRehearsal()
    setting = small_setting("class_incremental", dataset=numbered(), workers=2, batch_size=BATCH, **options)
    results = run_here(setting, method)
    stored = numbers(method.buffer.all()["x"])
    return method.incoming, method.replays, stored, weights_of(method), results


def once():
    """One pass: in each one, other samples fall to a worker."""
    return rehearse(passes=1)


def flat(steps):
    return {number for step in steps for number in step}


def test_samples_of_the_other_workers_shard_are_replayed(two_workers):
    answers = two_workers.run(once)
    own = [flat(incoming) for incoming, *_ in answers]
    assert not own[0] & own[1]
    for worker, (_, replays, *_) in enumerate(answers):
        drawn = [number for step in replays for number in step]
        foreign = sum(number in own[1 - worker] for number in drawn)
        assert set(drawn) <= own[0] | own[1]
        assert 0.3 < foreign / len(drawn) < 0.7  # half of all rows are there
    first, second = (replays for _, replays, *_ in answers)
    assert first != second


def test_the_buffer_is_shared_out_and_each_sample_offered_once(two_workers):
    answers = two_workers.run(once)
    stored = [rows for _, _, rows, *_ in answers]
    assert [len(rows) for rows in stored] == [11, 10]
    assert len({*stored[0], *stored[1]}) == SIZE
    for (incoming, *_), rows in zip(answers, stored, strict=True):
        assert set(rows) <= flat(incoming)
    assert len(flat(answers[0][0]) | flat(answers[1][0])) == N_TRAIN


def test_costs_are_those_of_both(two_workers):
    results = two_workers.run(rehearse)[0][4]
    cost = results.cost.rehearsal
    assert cost["stored"] == [11, 10]
    assert [sum(by_class.values()) for by_class in cost["stored_by_class"]] == cost["stored"]
    assert 0 < cost["replayed"] <= BATCH
    assert cost["bytes_sent"] == cost["bytes_received"] > 0
    assert cost["bytes_counts"] > 0


class BetweenPhases(BaseException):
    """The process ends here."""


@dataclass
class Cut(AsyncRehearsal):
    """Ends before the second phase."""

    buffer_size: int = SIZE  # samples that the buffer holds, over all workers
    cut = False

    def on_task_start(self, task_id):
        if self.cut and task_id == 1:
            raise BetweenPhases


def run(method, **options):
    setting = small_setting("class_incremental", workers=2, batch_size=8)
    results = run_here(setting, method, **options)
    rows = method.buffer.all()
    return comparable(results), [*weights_of(method), rows["x"], rows["y"]]


def run_and_resume(folder):
    method = Cut()
    method.cut = True
    with pytest.raises(BetweenPhases):
        run(method, run_dir=str(folder))
    torch.manual_seed(99)  # another process
    return run(Cut(), run_dir=str(folder), resume=True)


def run_whole():
    return run(Cut())


def test_a_run_that_is_resumed_between_phases_equals_the_whole_one(two_workers, tmp_path):
    resumed, whole = two_workers.run(run_and_resume, tmp_path / "run"), two_workers.run(run_whole)
    for mine, expected in zip(resumed, whole, strict=True):
        assert mine[0] == expected[0]
        assert all(map(torch.equal, mine[1], expected[1]))
