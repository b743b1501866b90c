import os
import subprocess
import sys
import threading
import time
from datetime import timedelta

import pytest

from redwood.buffers import WorkerLostError
from redwood.buffers.distributed.worker_thread import WorkerThread

# A peer that leaves while the interpreter is shut down: the collective that waits for it ends just then.
ENDING = """if True:
    import os, sys, time, types
    import torch
    import torch.distributed as dist
    from redwood.buffers.distributed.worker_thread import WorkerThread

    class Lingering:
        def __init__(self):
            self.sleep = time.sleep

        def __del__(self):
            self.sleep(1.5)

    def leave(path):
        dist.init_process_group("gloo", init_method=path, rank=1, world_size=2)
        time.sleep(1)
        os._exit(0)

    def main(path):
        if not os.fork():
            leave(path)
        dist.init_process_group("gloo", init_method=path, rank=0, world_size=2)
        sys.modules["lingering"] = types.ModuleType("lingering")
        sys.modules["lingering"].last = Lingering()
        worker_thread = WorkerThread(threaded=True)
        worker_thread.submit(lambda: dist.all_gather_into_tensor(torch.empty(2), torch.ones(1)))
        time.sleep(0.2)
        raise KeyError("the first error")

    main(sys.argv[1])
"""


@pytest.fixture(params=[True, False], ids=["threaded", "at once"])
def worker_thread(request):
    worker_thread = WorkerThread(threaded=request.param)
    yield worker_thread
    worker_thread.close()


def test_jobs_are_done_in_order(worker_thread):
    done = []
    jobs = [worker_thread.submit(lambda number=number: done.append(number) or number) for number in range(20)]
    assert [job.result() for job in jobs] == done == list(range(20))
    assert all(job.is_over for job in jobs)


def test_jobs_begun_together(worker_thread):
    done = []
    with worker_thread.together():
        jobs = [worker_thread.submit(lambda number=number: done.append(number) or number) for number in range(3)]
    with worker_thread.together():
        pass
    assert [job.result() for job in jobs] == [0, 1, 2]
    assert worker_thread.submit(lambda: done).result() == [0, 1, 2]


def test_jobs_of_the_same_body_wait_for_its_end():
    worker_thread = WorkerThread(threaded=True)
    with pytest.raises(ValueError, match="planted"), worker_thread.together():
        job = worker_thread.submit(lambda: 7)
        with pytest.raises(WorkerLostError):
            job.result(timedelta(seconds=0.01))
        raise ValueError("planted")
    assert job.result() == 7
    worker_thread.close()


def test_an_error_is_raised_where_the_result_is_asked_for_and_stops_nothing(worker_thread):
    failing, working = worker_thread.submit(lambda: 1 / 0), worker_thread.submit(lambda: 7)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            failing.result()
    assert working.result() == 7


def test_a_job_that_takes_too_long():
    worker_thread, go_on = WorkerThread(threaded=True), threading.Event()
    job = worker_thread.submit(go_on.wait)
    with pytest.raises(WorkerLostError, match=r"has not come to an end for 0:00:00.01"):
        job.result(timedelta(seconds=0.01))
    assert not job.is_over
    go_on.set()
    assert job.result() is True
    worker_thread.close()


def test_the_thread_ends_with_its_last_job():
    worker_thread, before = WorkerThread(threaded=True), threading.active_count()
    job = worker_thread.submit(threading.current_thread)
    worker_thread.close()
    thread = job.result()
    thread.join(10)
    assert not thread.is_alive()
    assert threading.active_count() == before - 1


@pytest.mark.slow
def test_a_process_that_fails_is_not_aborted_by_a_collective_that_ends_meanwhile(tmp_path):
    path = (tmp_path / "meeting_point").as_uri()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", ENDING, path], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr.endswith("KeyError: 'the first error'\n")


def test_the_end_of_a_process_does_not_wait_for_ever(tmp_path):
    code = (
        "import time; from redwood.buffers.distributed import worker_thread; worker_thread.GRACE_S = 0.5;"
        "worker_thread.WorkerThread(threaded=True).submit(lambda: time.sleep(600))"
    )
    began = time.monotonic()
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
    assert time.monotonic() - began < 60
