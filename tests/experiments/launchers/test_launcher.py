"""What all launchers promise."""

import pytest

from redwood.experiments.command_line.pairs import Pair
from redwood.experiments.launchers import here, pool
from redwood.experiments.launchers.here import ThisProcess
from redwood.experiments.launchers.jobs import Failure, Job
from redwood.experiments.launchers.pool import Pool
from redwood.experiments.launchers.resources import Resources


def job(tmp_path, number, width=1):
    return Job(Pair("continual", "random"), (), number, tmp_path / str(number), width)


def fail(job):
    return Failure(f"run {job.seed}", unforeseen=False)


@pytest.fixture(params=["this process", "pool of one", "pool of two"])
def launcher(request, monkeypatch, quick_processes):
    monkeypatch.setattr(here, "run_job", fail)
    monkeypatch.setattr(pool, "run_job", fail)
    for module in (here, pool):
        monkeypatch.setattr(module, "POLL_S", 0.05)
    places = {"this process": 1, "pool of one": 1, "pool of two": 2}[request.param]
    return (ThisProcess() if request.param == "this process" else Pool(Resources([None] * places))), places


def test_a_job_is_taken_only_when_there_is_room_for_it(launcher, tmp_path):
    """By then, the caller has been told all outcomes so far."""
    launcher, places = launcher
    taken, ended = [], []

    def choose():
        for number in range(6):
            assert number - len(ended) < places
            taken.append(number)
            yield job(tmp_path, number)

    with launcher:
        for done, outcome in launcher.run(choose(), started=lambda job: None):
            assert outcome.reason == f"run {done.seed}"
            ended.append(done.seed)
    assert sorted(ended) == taken == list(range(6))


def test_a_source_without_a_job_is_asked_again(launcher, tmp_path):
    launcher, _ = launcher
    started = []
    with launcher:
        ended = [
            done.seed for done, _ in launcher.run([None, job(tmp_path, 1), None, job(tmp_path, 2)], started.append)
        ]
    assert sorted(ended) == [job.seed for job in started] == [1, 2]


def test_of_jobs_chosen_late_one_at_most_waits_for_a_place(tmp_path, monkeypatch, quick_processes):
    """A list is known as a whole, so that narrow jobs pass wide ones."""
    monkeypatch.setattr(pool, "run_job", fail)
    widths = [2, 2, 2, 1]
    for source, first in ((list, [0, 3]), (iter, [0])):
        taken, started, count = [], [], None

        def jobs(taken=taken):
            for number, width in enumerate(widths):
                taken.append(number)
                yield job(tmp_path, number, width)

        with Pool(Resources([None] * 3)) as launcher:
            for _ in launcher.run(
                list(jobs()) if source is list else jobs(), lambda job, started=started: started.append(job.seed)
            ):
                count = count or (list(started), list(taken))
        assert count == (first, [0, 1, 2, 3] if source is list else [0, 1])
        assert sorted(started) == [0, 1, 2, 3]
