from types import SimpleNamespace

import pytest

from redwood.buffers.distributed import profiling
from redwood.buffers.distributed.profiling import KEPT, Profiler


@pytest.fixture
def clock(monkeypatch):
    time = SimpleNamespace(now=100.0)
    monkeypatch.setattr(profiling, "time", SimpleNamespace(perf_counter=lambda: time.now))
    return time


def test_a_step_lasts_to_the_next_one_and_no_pause_counts(clock):
    profiler = Profiler()
    for now in (100.0, 100.5, 101.25):
        clock.now = now
        profiler.step_begins()
    clock.now = 102.0
    profiler.pause()
    for now in (110.0, 110.25):
        clock.now = now
        profiler.step_begins()
    assert profiler.seconds["step"] == 0.5 + 0.75 + 0.25
    assert profiler.costs()["step_ms"] == 1500 / 5 and profiler.costs()["steps"] == 5


def test_costs_are_of_a_step_in_milliseconds_and_bytes(clock):
    profiler = Profiler()
    assert set(profiler.costs().values()) == {0}
    for _ in range(2):
        profiler.step_begins()
        with profiler.clock("gather"):
            clock.now += 0.125
    profiler.count(sent=300, counts=8)
    profiler.count(sent=100)
    profiler.drawn = 30
    costs = profiler.costs()
    assert (costs["gather_ms"], costs["step_ms"], costs["wait_ms"]) == (125, 62.5, 0)
    assert (costs["bytes_sent"], costs["bytes_received"], costs["bytes_counts"]) == (200, 0, 4)
    assert (costs["replayed"], costs["steps"]) == (15, 2)


def test_a_part_that_fails_counts(clock):
    profiler = Profiler()
    with pytest.raises(KeyError), profiler.clock("plan"):
        clock.now += 2.0
        raise KeyError
    assert profiler.seconds["plan"] == 2.0


def test_the_timeline_has_the_last_spans_in_order_from_the_first(clock):
    profiler = Profiler()
    assert profiler.timeline() == []
    profiler.add("exchange", 7.5, 8.0)
    profiler.add("gather", 7.0, 7.25)
    assert profiler.timeline() == [("gather", 0.0, 250.0), ("exchange", 500.0, 1000.0)]
    for start in range(KEPT):
        profiler.add("plan", float(start), start + 1.0)
    assert [name for name, _, _ in profiler.timeline()] == ["plan"] * KEPT
