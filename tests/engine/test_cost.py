from pathlib import Path

import pytest
import torch

from redwood.engine.cost import peak_memory_bytes, rehearsal_cost, reset_peak_memory


def worker(wait_ms, stored_by_class, timeline=(("step", 0.0, 1.0),)):
    return {
        "wait_ms": wait_ms,
        "bytes_sent": 10 * wait_ms,
        "stored": sum(stored_by_class.values()),
        "stored_by_class": stored_by_class,
        "timeline": timeline,
    }


class TestRehearsalCost:
    def test_of_several_workers(self):
        cost = rehearsal_cost([worker(1.0, {0: 3, 7: 2}), worker(2.0, {0: 4}, [("step", 5.0, 9.0)])])
        assert cost == {
            "wait_ms": 1.5,
            "bytes_sent": 15.0,
            "stored": [5, 4],
            "stored_by_class": [{"0": 3, "7": 2}, {"0": 4}],
            "timeline": [["step", 0.0, 1.0]],
        }

    def test_of_one(self):
        assert rehearsal_cost([worker(3.0, {})])["wait_ms"] == 3.0

    @pytest.mark.parametrize("workers", [[], [None], [None, None]])
    def test_where_none_was_measured(self, workers):
        assert rehearsal_cost(workers) is None


def test_peak_memory_is_in_bytes_and_does_not_shrink_by_itself():
    before = peak_memory_bytes()
    large = torch.ones(2**26)
    during = peak_memory_bytes()
    del large
    # Linux counts pages per core, and adds them up from time to time.
    assert peak_memory_bytes() + 2**21 >= during >= before > 2**24
    if not torch.cuda.is_initialized():
        assert during < 2**38


@pytest.mark.skipif(torch.cuda.is_available(), reason="where a GPU was used, its memory counts before that of the host")
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux alone lets a process do so")
def test_peak_memory_of_the_second_run_of_a_process():
    large = torch.ones(2**27)
    before = peak_memory_bytes()
    del large
    reset_peak_memory()
    assert peak_memory_bytes() < before - 2**28
