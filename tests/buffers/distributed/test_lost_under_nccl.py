"""A worker that waits in a collective of NCCL for one that is lost, which NCCL does not notice, is freed by an abort.

The group of training is a fake one: its collectives take for ever, until they are aborted.
"""

import contextlib
import os
import threading
import time
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
import torch
import torch.distributed as dist

from redwood.buffers import AsyncRehearsalBuffer, AsyncRehearsalCallback, WorkerLostError
from redwood.buffers.distributed.peers import Peers, abort_nccl, lost_workers
from redwood.buffers.distributed.profiling import Profiler
from redwood.core.workers import raise_after_timeout
from tests.workers import GlooWorkers, TwoWorkers

LIMIT_S = 20


class Blocking:
    """A group whose collectives never come to an end by themselves."""

    def __init__(self) -> None:
        self._aborted = threading.Event()

    def all_reduce(self) -> None:
        if not self._aborted.wait(LIMIT_S):
            raise AssertionError("nobody has aborted the communicator")
        raise dist.DistBackendError("NCCL communicator was aborted on rank 0.")

    def abort(self) -> None:
        self._aborted.set()


def wait_for_a_lost_worker(kind: str) -> list[str]:
    """Train in one thread, and exchange counts or rows in another, with a worker that leaves."""
    group: Any = Blocking()
    peers = Peers(None, None, Profiler(), free=group.abort)
    if dist.get_rank() == 1:
        peers.leave()
        return []
    raised: list[str] = []

    def exchange() -> None:
        rows = torch.zeros(2, 1, dtype=torch.complex128)
        try:
            if kind == "counts":
                peers.gather(torch.zeros(4, dtype=torch.int64))
            else:
                peers.exchange(rows, rows.clone(), [1, 1], [1, 1])
        except WorkerLostError as error:
            raised.append(str(error))

    background = threading.Thread(target=exchange)
    background.start()
    with pytest.raises(WorkerLostError, match="Another worker has ended"), lost_workers():
        group.all_reduce()
    background.join()
    peers.leave()
    return raised


@pytest.mark.parametrize("kind", ["counts", "rows"])
def test_the_thread_that_trains_is_freed(two_workers: TwoWorkers, kind: str) -> None:
    raised, _ = two_workers.run(wait_for_a_lost_worker, kind)
    assert len(raised) == 1
    assert "Another worker has ended or stopped answering" in raised[0]


def lose_a_worker_in_a_pause() -> bool:
    """The last worker leaves in the middle of a pause that takes longer than the timeout; the others wait in NCCL."""
    group: Any = Blocking()
    peers = Peers(None, timedelta(seconds=1), Profiler(), free=group.abort)
    peers.begin_pause()
    time.sleep(1.5)
    if peers.rank == peers.world - 1:
        peers.leave()
        return True

    def watch() -> None:
        with contextlib.suppress(WorkerLostError):
            peers.watch()

    watching = threading.Thread(target=watch)
    watching.start()
    with pytest.raises(WorkerLostError), lost_workers():
        group.all_reduce()
    watching.join()
    with pytest.raises(WorkerLostError):
        peers.gather(torch.zeros(4, dtype=torch.int64))
    peers.leave()
    return True


def leave_in_a_pause_after_another() -> bool:
    """The last worker leaves in a pause while it listens itself; the others leave once they know."""
    peers = Peers(None, timedelta(seconds=20), Profiler())
    peers.begin_pause()
    errors, listens, receive = [], threading.Event(), dist.irecv

    def irecv(*args: Any, **options: Any) -> Any:
        work = receive(*args, **options)
        listens.set()
        return work

    def watch() -> None:
        try:
            with mock.patch.object(dist, "irecv", irecv):
                peers.watch()
        except WorkerLostError as error:
            errors.append(error)

    watching = threading.Thread(target=watch)
    watching.start()
    assert listens.wait(LIMIT_S)
    if peers.rank < peers.world - 1:
        watching.join()
    begun = time.monotonic()
    peers.leave()
    watching.join()
    return len(errors) == 1 and time.monotonic() - begun < 10


def watch_after_leaving() -> bool:
    peers = Peers(None, timedelta(seconds=20), Profiler())
    peers.begin_pause()
    peers.leave()
    peers.watch()
    return peers.lost is None


def end_a_pause_one_after_another() -> list[int]:
    peers = Peers(None, timedelta(seconds=20), Profiler())
    found = []
    for number in range(2):
        peers.begin_pause()
        watching = threading.Thread(target=peers.watch)
        watching.start()
        time.sleep(0.1 * peers.rank)
        peers.end_pause()
        watching.join()
        found.append(int(peers.gather(torch.tensor([number])).sum()))
    peers.leave()
    return found


def test_a_loss_in_a_pause_is_passed_on(gloo_workers: GlooWorkers) -> None:
    assert gloo_workers.run(3, lose_a_worker_in_a_pause) == [True, True, True]


def test_a_worker_that_has_left_listens_to_nobody(two_workers: TwoWorkers) -> None:
    assert two_workers.run(watch_after_leaving) == [True, True]


def test_no_worker_that_leaves_waits_for_another_one(two_workers: TwoWorkers) -> None:
    assert two_workers.run(leave_in_a_pause_after_another) == [True, True]


def test_a_pause_ends_for_each_worker_by_itself(gloo_workers: GlooWorkers) -> None:
    assert gloo_workers.run(3, end_a_pause_one_after_another) == 3 * [[0, 3]]


def test_all_groups_are_aborted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """With tensor parallelism the group of all workers and that of a replica may wait for each other on a GPU."""
    begun, aborted = threading.Barrier(3), []

    class Dependent:
        def abort(self) -> None:
            begun.wait(LIMIT_S)
            aborted.append(self)

    groups = [Dependent() for _ in range(3)]
    monkeypatch.setattr("redwood.buffers.distributed.peers._nccl_groups", lambda: groups)
    abort_nccl()
    assert set(aborted) == set(groups)


def test_the_callback_raises_after_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_NCCL_ASYNC_ERROR_HANDLING", "1")
    AsyncRehearsalCallback(AsyncRehearsalBuffer(9, replay=1))
    assert os.environ["TORCH_NCCL_ASYNC_ERROR_HANDLING"] == "2"


@pytest.mark.parametrize(("value", "kept"), [(None, "2"), ("1", "2"), ("3", "3"), ("0", "0")])
def test_a_timeout_raises_unless_the_user_has_chosen_otherwise(
    monkeypatch: pytest.MonkeyPatch, value: str | None, kept: str
) -> None:
    monkeypatch.setenv("TORCH_NCCL_ASYNC_ERROR_HANDLING", value or "")
    if value is None:
        monkeypatch.delenv("TORCH_NCCL_ASYNC_ERROR_HANDLING")
    raise_after_timeout()
    assert os.environ["TORCH_NCCL_ASYNC_ERROR_HANDLING"] == kept
