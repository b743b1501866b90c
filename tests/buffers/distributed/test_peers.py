"""Which group rows are exchanged in, and which errors are those of a lost worker."""

from typing import Any
from unittest import mock

import pytest
import torch
import torch.distributed as dist

from redwood.buffers import WorkerLostError
from redwood.buffers.distributed import peers
from redwood.buffers.distributed.profiling import Profiler
from redwood.buffers.layout import WORD_BYTES
from tests.workers import TwoWorkers

GPU, WORLD = torch.device("cuda", 0), object()


@pytest.mark.parametrize(
    ("config", "device", "found"),
    [
        ("cuda:nccl", GPU, True),
        ("cpu:gloo,cuda:nccl", GPU, True),
        ("cpu:gloo,cuda:nccl", torch.device("cpu"), False),
        ("cpu:gloo,cuda:gloo", GPU, False),
    ],
)
def test_nccl_is_looked_for_among_the_backends_of_the_device(config: str, device: Any, found: bool) -> None:
    joined = mock.Mock(group=mock.Mock(WORLD=WORLD))
    with mock.patch.object(peers, "dist", joined), mock.patch.object(peers, "get_backend_config", lambda: config):
        assert (peers.nccl_group(device) is WORLD) is found


def test_no_group_without_workers() -> None:
    assert peers.nccl_group(GPU) is None


def bytes_until_connected() -> tuple[bool, dict[str, int]]:
    profiler = Profiler()
    joined = peers.Peers(None, None, profiler)
    found = joined.connected(dist.group.WORLD, torch.device("cpu")), joined.connected(None, torch.device("cpu"))
    joined.leave()
    return found == (dist.group.WORLD, None), profiler.n_bytes


def test_each_pair_of_a_group_exchanges_a_row_before_the_first_step(two_workers: TwoWorkers) -> None:
    of_each = {"sent": 2 * WORD_BYTES, "received": 2 * WORD_BYTES, "counts": 0}
    assert two_workers.run(bytes_until_connected) == [(True, of_each)] * 2


def test_a_worker_alone_has_nobody_to_connect_to() -> None:
    assert peers.Peers(None, None, Profiler()).connected(WORLD, GPU) is None  # type: ignore[arg-type]


GLOO = "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:4711"


@pytest.mark.parametrize(
    "error",
    [RuntimeError(GLOO), RuntimeError("Application timeout caused pair closure"), dist.DistBackendError("NCCL")],
)
def test_errors_of_a_backend_tell_of_a_lost_worker(error: Exception) -> None:
    with pytest.raises(WorkerLostError, match="Another worker has ended or stopped answering"), peers.lost_workers():
        raise error


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("the socket of the sensor timed out"),
        RuntimeError("Default process group has not been initialized"),
        ValueError("Invalid process group specified"),
        RuntimeError("aborted"),
    ],
    ids=str,
)
def test_other_errors_are_seen_as_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, peers.lost_workers():
        raise error
    assert raised.value is error
