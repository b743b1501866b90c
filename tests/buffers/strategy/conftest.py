from collections.abc import Iterator
from typing import Any

import pytest
import torch

from tests.buffers.distributed.fake_gpu import FakeGpu
from tests.buffers.distributed.fake_training import trainers_on
from tests.buffers.strategy import plain_modules

PLACES = ["cpu", "simulated", *(["gpu"] if torch.cuda.is_available() else [])]


@pytest.fixture(params=PLACES)
def accelerator(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Has Trainers train on the host, on a GPU that is not there, where nothing may race, and on a real one."""
    if request.param != "cpu":
        monkeypatch.setattr(plain_modules, "ACCELERATOR", "gpu")
    if request.param != "simulated":
        yield request.param
        return
    gpu = FakeGpu()
    with trainers_on(gpu):
        yield request.param
    assert not gpu.found
