"""The lane of a GPU: what it does on the host, which is nothing, and how it orders streams."""

import pickle

import pytest
import torch

from redwood.buffers.distributed.device_lane import DeviceLane, LaneMemory
from redwood.buffers.layout import WORD
from tests.buffers.distributed.fake_gpu import GPU, FakeGpu, current_stream, default_stream

HOST = torch.device("cpu")


def test_the_host_needs_no_order() -> None:
    lane = DeviceLane(HOST)
    assert lane.mark() is None
    with lane.enter(None), lane.in_turn():
        made = torch.ones(2)
    assert lane.done() is None
    lane.leave(None, made)
    lane.flush()


def test_work_starts_behind_the_mark_and_not_behind_later_work() -> None:
    with FakeGpu() as gpu:
        lane = DeviceLane(GPU)
        before = torch.ones(2, device="cuda")
        mark = lane.mark()
        later = torch.ones(2, device="cuda")
        with lane.enter(mark, [before]):
            before.clone()
            assert not gpu.found
            later.clone()
    assert list(gpu.found) and all("clone" in race for race in gpu.found)


def test_in_turn_within_the_lane_changes_nothing() -> None:
    with FakeGpu():
        lane = DeviceLane(GPU)
        with lane.in_turn():
            side = current_stream()
            with lane.in_turn():
                assert current_stream() is side
        assert current_stream() is default_stream()
        assert side is not default_stream()


def test_an_unpickled_lane_has_a_stream_of_its_own() -> None:
    with FakeGpu():
        lane = DeviceLane(GPU)
        lane.done()
        assert pickle.loads(pickle.dumps(lane)).device == GPU


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_memory_grows_on_the_lane(device: str) -> None:
    with FakeGpu():
        lane = DeviceLane(GPU)
        memory = LaneMemory(lane, torch.device(device))
        with lane.in_turn():
            side = current_stream()
        few = memory.rows(2, 3)
        assert few.shape == (2, 3)
        assert few.dtype == WORD
        many = memory.rows(9, 3)
        assert many.shape == (9, 3)
        again = memory.rows(9, 3)
        if device == "cpu":
            assert again.data_ptr() == many.data_ptr()
        else:
            assert again.memory is many.memory  # type: ignore[attr-defined]
            assert many.memory.owner is side  # type: ignore[attr-defined]
