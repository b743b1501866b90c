"""Runs side by side: whose seconds are whose."""

from redwood.engine import stack
from redwood.engine.run import Run
from redwood.engine.stack import Member, OwnClock, run_stack
from redwood.settings.results import Results
from tests.small_runs import FixedRule, small_setting


class Seconds:
    """A clock that is set by hand."""

    def __init__(self):
        self.now = 100.0

    def perf_counter(self):
        return self.now


def test_a_run_counts_its_own_seconds_and_its_share(monkeypatch):
    seconds = Seconds()
    monkeypatch.setattr(stack, "time", seconds)
    clock = OwnClock()
    with clock.running():
        seconds.now += 3
        assert clock() == 3
    seconds.now += 50
    assert clock() == 3
    clock.add(2)
    with clock.running():
        seconds.now += 1
    assert clock() == 6


def test_common_seconds_are_shared_by_steps(monkeypatch):
    seconds = Seconds()
    monkeypatch.setattr(stack, "time", seconds)
    members = [
        Member(small_setting("class_incremental", batch_size=size), FixedRule(), Run(quiet=True, accelerator="cpu"))
        for size in (16, 8)
    ]
    steps = []

    def train(methods, phases):
        steps.append([phase.steps for phase in phases])
        for method, phase in zip(methods, phases, strict=True):
            method.fit(phase)
        seconds.now += 30
        return [None] * len(methods)

    first, second = run_stack(members, train)
    assert isinstance(first, Results)
    assert isinstance(second, Results)
    wanted = [sum(30 * each[run] / sum(each) for each in steps) for run in range(2)]
    assert [round(end.cost.training_time_s, 6) for end in (first, second)] == [round(value, 6) for value in wanted]
    assert wanted[1] > wanted[0]
