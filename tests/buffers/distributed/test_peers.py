"""Which group rows are exchanged in."""

from typing import Any
from unittest import mock

import pytest
import torch

from redwood.buffers.distributed import peers

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
