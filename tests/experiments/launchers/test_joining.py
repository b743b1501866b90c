"""Which jobs are handed out while other processes work on the same folders."""

import pytest

from redwood.engine import lease
from redwood.engine.lease import LOCK_FILE, FolderLease
from redwood.experiments.jobs import Elsewhere, Failure, Job
from redwood.experiments.launchers.joining import SharedJobs, forget_failures
from redwood.experiments.pairs import Pair

FAILURE = Failure("It is broken.", unforeseen=False)


@pytest.fixture
def jobs(tmp_path):
    return [Job(Pair("continual", "random"), (), number, tmp_path / str(number)) for number in range(3)]


def hold(folder, machine="elsewhere"):
    """The lease of a living process on another machine, as long as the test lasts."""
    folder.mkdir(exist_ok=True)
    own = FolderLease()
    own.acquire(folder)
    text = (folder / LOCK_FILE).read_text()
    own.release()
    (folder / LOCK_FILE).write_text(text.replace("host=", f"host={machine}-"))


def test_each_is_handed_out_once_and_settled(jobs):
    shared = SharedJobs(jobs)
    source = iter(shared)
    assert [next(source) for _ in jobs] == jobs and len(shared) == 0
    assert next(source) is None, "until it is known how they have ended"
    for job in jobs:
        shared.settle(job, FAILURE)
    assert list(source) == []
    assert shared.outcomes == dict.fromkeys(jobs, FAILURE)


def test_one_that_another_process_has_comes_later(jobs):
    hold(jobs[0].folder)
    shared = SharedJobs(jobs)
    source = iter(shared)
    assert [next(source), next(source), next(source)] == [jobs[1], jobs[2], None]
    (jobs[0].folder / LOCK_FILE).unlink()
    assert next(source) == jobs[0]


def test_one_whose_owner_does_not_answer_is_handed_out(jobs, monkeypatch):
    monkeypatch.setattr(lease, "LEASE_S", 0.5)
    monkeypatch.setattr(lease, "HEARTBEAT_S", 0.1)
    hold(jobs[0].folder)
    source = iter(SharedJobs(jobs[:1]))
    taken = next(job for job in source if job is not None)
    assert taken == jobs[0] and not (jobs[0].folder / LOCK_FILE).exists()


def test_one_that_ends_in_another_process_is_told(jobs):
    hold(jobs[0].folder)
    shared, told = SharedJobs(jobs[:1]), []
    shared.ended = lambda job, outcome: told.append((job, outcome))
    source = iter(shared)
    assert next(source) is None
    jobs[0].write_failure(FAILURE)
    assert list(source) == [] and told == [(jobs[0], FAILURE)]
    assert shared.outcomes == {jobs[0]: FAILURE}


def test_one_that_is_given_back_is_looked_at_again(jobs):
    shared = SharedJobs(jobs[:1])
    source = iter(shared)
    assert next(source) == jobs[0]
    shared.settle(jobs[0], Elsewhere("Another process was faster."))
    assert next(job for job in source if job is not None) == jobs[0]


def test_failures_are_forgotten_unless_others_are_at_work(jobs):
    jobs[1].write_failure(FAILURE)
    hold(jobs[0].folder)
    forget_failures(jobs)
    assert jobs[1].outcome() == FAILURE, "another process goes on: this one only joins"
    (jobs[0].folder / LOCK_FILE).unlink()
    forget_failures(jobs)
    assert jobs[1].outcome() is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"reason": 3}'])
def test_a_damaged_failure_is_none(jobs, text):
    jobs[0].folder.mkdir()
    (jobs[0].folder / "failure.json").write_text(text)
    assert jobs[0].outcome() is None
