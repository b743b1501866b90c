import multiprocessing
import threading
import time

import pytest
import torch
import torch.distributed as dist

from tests.process_harness import Doomed

pytestmark = pytest.mark.slow  # what runs tests in other processes; all tests that do so rest on it


def reduce_for_ever(rank, world, tell):
    for step in range(10**9):
        dist.all_reduce(torch.ones(1))
        if step == 3:
            tell((rank, world, dist.get_rank(), dist.get_world_size()))


def end_at_once(rank, world, tell):
    tell(rank)


def keep_a_thread(rank, world, tell):
    """The job ends with an error, its process does not end."""
    threading.Thread(target=time.sleep, args=(600,)).start()
    tell("nearly")
    raise KeyError(rank)


def tell_a_lot(rank, world, tell):
    for _ in range(2000):
        tell("x" * 1000)


def test_those_that_survive_a_kill_tell_why_they_ended():
    with Doomed(3, reduce_for_ever, limit_s=40) as processes:
        assert processes.hear() == [(rank, 3, rank, 3) for rank in range(3)]
        processes.kill(1)
        fates = processes.fates()
    assert list(fates) == [0, 2]
    for fate in fates.values():
        assert fate.status == 1
        assert fate.error in ("RuntimeError", "DistBackendError")
        assert fate.message
        assert 0 < fate.seconds < 20


def test_a_process_that_is_stopped_is_noticed_by_the_timeout_alone():
    with Doomed(2, reduce_for_ever, collective_s=3, limit_s=40) as processes:
        processes.hear()
        processes.stop(0)
        fate = processes.fates()[1]
    assert fate.status == 1
    assert "imed out" in fate.message
    assert 2 < fate.seconds < 20


def test_what_does_not_end_fails_the_test_and_is_killed():
    others = set(multiprocessing.active_children())
    with Doomed(2, keep_a_thread) as processes:
        processes.hear()
        processes.limit_s = 1
        with pytest.raises(AssertionError, match=r"^keep_a_thread goes on for 1 s on workers \[0, 1\] of 2\n"):
            processes.fates()
        assert len(set(multiprocessing.active_children()) - others) == 2
    assert set(multiprocessing.active_children()) <= others


def test_silence_fails_the_test():
    with Doomed(1, reduce_for_ever) as processes:
        processes.hear()
        processes.limit_s = 1
        with pytest.raises(AssertionError, match=r"reduce_for_ever tells nothing for 1 s(?s:.*)in reduce_for_ever"):
            processes.hear()


def test_an_error_in_place_of_a_message_fails_the_test():
    with Doomed(1, keep_a_thread) as processes:
        processes.hear()
        with pytest.raises(AssertionError, match=r"keep_a_thread fails on worker 0 of 1: (?s:.*)KeyError: 0"):
            processes.hear()


@pytest.mark.parametrize("job", [end_at_once, tell_a_lot])
def test_the_end_of_a_job_is_no_error(job):
    with Doomed(1, job) as processes:
        fate = processes.fates()[0]
    assert (fate.status, fate.error, fate.message) == (0, None, None)
