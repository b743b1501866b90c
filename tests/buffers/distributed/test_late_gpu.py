"""A GPU that does its work as late as it may draws and stores what the host does, bit for bit."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor

from redwood.buffers.distributed.device_lane import DeviceLane
from tests.buffers.distributed.fake_gpu import FakeTensor
from tests.buffers.distributed.gpu_lives import HALF, PLACES, SHARED, Case, Life, joined_by_nothing
from tests.buffers.distributed.late_gpu import LateEvent, LateGpu


def on_host(case: Case, folder: Path) -> list[Tensor]:
    """What a life in host memory draws and stores."""
    with joined_by_nothing(case.world):
        life = Life(case, None)
        life.whole(folder / "host")
    return life.drawn


def on_late_gpu(case: Case, folder: Path, seed: int) -> list[Tensor]:
    """What a life beside a late GPU draws and stores."""
    with LateGpu(seed) as gpu, joined_by_nothing(case.world):
        life = Life(case, gpu)
        life.whole(folder / f"gpu_{seed}")
    return [leaf.on_cpu if isinstance(leaf, FakeTensor) else leaf for leaf in life.drawn]


def is_equal(case: Case, folder: Path, seeds: range) -> bool:
    wanted = on_host(case, folder)
    assert sum(leaf.numel() for leaf in wanted) > 100
    found = [on_late_gpu(case, folder, seed) for seed in seeds]
    return all(len(one) == len(wanted) and all(map(torch.equal, one, wanted)) for one in found)


@pytest.mark.parametrize("place", PLACES, ids=str)
@pytest.mark.few(1)
def test_as_on_the_host(place: tuple[str, int, bool], tmp_path: Path) -> None:
    tier, world, nccl = place
    for number, flags in enumerate(HALF):
        case = Case(tier, SHARED[number % len(SHARED)], world, nccl, *flags)
        assert is_equal(case, tmp_path / str(number), range(number, number + 1)), case


# Faults that make results differ.

Patches = Iterator[Any]


def no_wait_for_what_was_fetched() -> Patches:
    yield mock.patch.object(DeviceLane, "leave", lambda *_: None)


def no_wait_for_the_stream_that_trains() -> Patches:
    mark = DeviceLane.mark

    def reached(self: DeviceLane) -> Any:
        event: Any = mark(self)
        if isinstance(event, LateEvent):
            event.is_done = True
        return event

    yield mock.patch.object(DeviceLane, "mark", reached)


def no_wait_for_the_side_stream() -> Patches:
    yield mock.patch.object(DeviceLane, "flush", lambda self: None)


@pytest.mark.parametrize(
    "fault", [no_wait_for_what_was_fetched, no_wait_for_the_stream_that_trains, no_wait_for_the_side_stream]
)
@pytest.mark.few(1)
def test_faults_make_a_difference(fault: Callable[[], Patches], tmp_path: Path) -> None:
    with contextlib.ExitStack() as planted:
        for patch in fault():
            planted.enter_context(patch)
        assert not is_equal(Case(late=True), tmp_path, range(4))
