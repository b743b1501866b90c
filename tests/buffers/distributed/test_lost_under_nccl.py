"""A worker that waits in a collective of NCCL for one that is lost, which NCCL does not notice, is freed by an abort.

The group of training is a fake one: its collectives take for ever, until they are aborted.
"""

import os
import threading
from typing import Any

import pytest
import torch
import torch.distributed as dist

from redwood.buffers import WorkerLostError
from redwood.buffers.distributed.peers import Peers, lost_workers
from redwood.buffers.distributed.profiling import Profiler
from redwood.core.workers import raise_after_timeout
from tests.workers import TwoWorkers

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
    peers = Peers(None, None, Profiler(), training=group)
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


@pytest.mark.parametrize(("value", "kept"), [(None, "2"), ("1", "2"), ("3", "3"), ("0", "0")])
def test_a_timeout_raises_unless_the_user_has_chosen_otherwise(
    monkeypatch: pytest.MonkeyPatch, value: str | None, kept: str
) -> None:
    monkeypatch.setenv("TORCH_NCCL_ASYNC_ERROR_HANDLING", value or "")
    if value is None:
        monkeypatch.delenv("TORCH_NCCL_ASYNC_ERROR_HANDLING")
    raise_after_timeout()
    assert os.environ["TORCH_NCCL_ASYNC_ERROR_HANDLING"] == kept
