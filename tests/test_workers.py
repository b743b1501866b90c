"""One job that goes wrong leaves nothing behind for the next."""

import multiprocessing
import os
import signal
import time

import pytest
import torch
import torch.distributed as dist

pytestmark = pytest.mark.slow  # what runs tests in other processes; all tests that do so rest on it

NAMES = ("RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE")


def look_around():
    ones = torch.ones(1)
    dist.all_reduce(ones)
    variables = tuple(int(os.environ[name]) for name in NAMES)
    return variables, (dist.get_rank(), dist.get_world_size(), int(ones)), torch.get_num_threads(), os.getpid()


def world_of(workers, world):
    """Have all look around; their process ids."""
    answers = workers.run(world, look_around)
    for rank, (variables, seen, n_threads, _) in enumerate(answers):
        assert variables == (rank, rank, 0, world)
        assert seen == (rank, world, world)
        assert n_threads == 1
    return [pid for *_, pid in answers]


def group():
    return id(dist.group.WORLD)


def fail_on(rank, others_wait):
    if dist.get_rank() == rank:
        raise ValueError("deliberate")
    if others_wait:
        dist.all_reduce(torch.ones(1))


def put_handlers_back():
    """As a `Trainer` does when it ends."""
    signal.signal(signal.SIGUSR1, signal.getsignal(signal.SIGUSR1))


def hang_on(rank):
    if dist.get_rank() == rank:
        time.sleep(600)


def die_on(rank):
    if dist.get_rank() == rank:
        os.kill(os.getpid(), signal.SIGKILL)
    dist.all_reduce(torch.ones(1))


def unpicklable():
    return lambda: None


class TestFailures:
    @pytest.mark.parametrize("others_wait", [False, True])
    def test_a_failure_is_told_and_costs_no_process(self, gloo_workers, others_wait):
        before = world_of(gloo_workers, 3)
        started = time.monotonic()
        with pytest.raises(AssertionError, match=r"^fail_on fails on worker 1 of 3: (?s:.*)ValueError: deliberate"):
            gloo_workers.run(3, fail_on, 1, others_wait)
        assert time.monotonic() - started < 10  # the others notice
        assert world_of(gloo_workers, 3) == before

    def test_a_job_that_hangs_is_told_with_its_stack_and_its_process_replaced(self, gloo_workers):
        before = world_of(gloo_workers, 2)
        gloo_workers.run(2, put_handlers_back)
        with pytest.raises(AssertionError, match=r"^hang_on hangs on worker 1 of 2\n(?s:.*)in hang_on") as error:
            gloo_workers.run(2, hang_on, 1, timeout_s=1)
        assert "worker 0" not in str(error.value)
        after = world_of(gloo_workers, 2)
        assert after[0] == before[0]
        assert after[1] != before[1]

    def test_a_process_that_dies_is_replaced(self, gloo_workers):
        before = world_of(gloo_workers, 2)
        with pytest.raises(AssertionError, match="die_on fails on worker 0 of 2: it died with exit status -9"):
            gloo_workers.run(2, die_on, 0)
        after = world_of(gloo_workers, 2)
        assert after[0] != before[0]
        assert after[1] == before[1]

    def test_a_process_that_dies_between_two_jobs_is_replaced(self, gloo_workers):
        before = world_of(gloo_workers, 2)
        (process,) = (process for process in multiprocessing.active_children() if process.pid == before[1])
        process.kill()
        process.join()
        after = world_of(gloo_workers, 2)
        assert after[0] == before[0]
        assert after[1] != before[1]

    def test_an_answer_that_cannot_be_sent_is_a_failure(self, gloo_workers):
        with pytest.raises(AssertionError, match="unpicklable fails on worker 0 of 2"):
            gloo_workers.run(2, unpicklable)
        world_of(gloo_workers, 2)
