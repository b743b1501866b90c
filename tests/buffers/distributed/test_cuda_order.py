"""Everything on a GPU happens in order, and comes to what it comes to on the host; each known fault is found."""

import contextlib
import gc
import itertools
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

from redwood.buffers import AsyncRehearsalBuffer, memory_plan, storage
from redwood.buffers.distributed import async_buffer as engine
from redwood.buffers.distributed import pipeline
from redwood.buffers.distributed.device_lane import DeviceLane, LaneMemory
from redwood.buffers.in_place import Unchanged
from tests.buffers.distributed.fake_gpu import Event, FakeGpu, FakeTensor, default_stream, on_stream
from tests.buffers.distributed.gpu_lives import FLAGS, HALF, PLACES, SHARED, STEPS, Case, Life, joined_by_nothing


@pytest.fixture(scope="module", autouse=True)
def _only_new_objects_are_collected() -> Iterator[None]:
    """Memory that is freed has to be noticed often; what the session made before need not be searched for it."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def lived(case: Case, folder: Path, gpu: FakeGpu | None) -> list[torch.Tensor]:
    """What the life of a buffer draws and stores, beside a GPU or in host memory."""
    with gpu or contextlib.nullcontext(), joined_by_nothing(case.world):
        life = Life(case, gpu)
        life.whole(folder)
    return [leaf.on_cpu if isinstance(leaf, FakeTensor) else leaf for leaf in life.drawn]


def found(case: Case, folder: Path) -> dict[str, str]:
    """What is out of order in the life of a buffer."""
    gpu = FakeGpu()
    lived(case, folder, gpu)
    return gpu.found


@pytest.mark.parametrize("place", PLACES, ids=str)
@pytest.mark.parametrize("sampler", SHARED)
@pytest.mark.few(3)
def test_no_race(place: tuple[str, int, bool], sampler: str, tmp_path: Path) -> None:
    tier, world, nccl = place
    assert len(HALF) == 8
    for flags in HALF:
        case, gpu = Case(tier, sampler, world, nccl, *flags), FakeGpu()
        drawn = lived(case, tmp_path / str(flags), gpu)
        assert not gpu.found, flags
        assert all(map(torch.equal, drawn, lived(case, tmp_path / f"{flags} on the host", None))), flags


@pytest.mark.slow
@pytest.mark.parametrize("flags", [flags for flags in FLAGS if flags not in HALF], ids=str)
def test_no_race_with_other_flags(flags: tuple[Any, ...], tmp_path: Path) -> None:
    for (tier, world, nccl), sampler in itertools.product(PLACES, SHARED):
        case = Case(tier, sampler, world, nccl, *flags)
        assert not found(case, tmp_path / f"{tier}_{world}_{nccl}_{sampler}"), case


@pytest.mark.parametrize(
    ("free", "tier"), [((10**6, 10**6), "cuda"), ((1000, 10**6), "pinned"), ((1000, 500), "host")], ids=str
)
@pytest.mark.parametrize(("world", "nccl"), [(1, False), (2, True)])
def test_no_race_where_memory_is_planned(
    free: tuple[int, int], tier: str, world: int, nccl: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(memory_plan, "free_memory", lambda device: memory_plan.FreeMemory(*free))
    case = Case("auto", "uniform", world, nccl)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with FakeGpu() as gpu, joined_by_nothing(world):
            life = Life(case, gpu)
            memory = life.opened()
            life.train(memory, STEPS, 0)
            assert memory.buffer.rows.tier == tier
            assert memory.on_gpu == (tier == "cuda")
            assert memory._pipeline._is_launched_by_caller == (nccl and tier == "cuda")
            memory.close()
            del memory
            Life(case, gpu).whole(tmp_path)
        assert not gpu.found
    told = [str(warning.message) for warning in warned if "rows take" in str(warning.message)]
    # One for each buffer that trains: the first one, the one of the life, and the one that resumes.
    assert len(told) == (0 if tier == "cuda" else 3)
    assert all("bytes that a step leaves free on cuda:0" in text and f"on the tier {tier}" in text for text in told)


# Faults that were there once, each as it was: patches that bring it back.

Patches = Iterator[Any]


def device_without_number() -> Patches:
    yield mock.patch.object(engine, "indexed", lambda device: device)


def no_wait_for_restored_rows() -> Patches:
    """Training does not wait for the rows that were restored on the lane."""

    @contextlib.contextmanager
    def in_turn(self: Any) -> Iterator[None]:
        with self.enter(self.mark()):
            yield

    yield mock.patch.object(DeviceLane, "in_turn", in_turn)


def no_wait_for_the_side_stream() -> Patches:
    yield mock.patch.object(DeviceLane, "flush", lambda self: None)


def empty_draws_release_no_memory() -> Patches:
    """The side stream waits for the steps before only where something was drawn."""
    drawn, collect, mark = [False], AsyncRehearsalBuffer.collect, DeviceLane.mark

    def noted(self: AsyncRehearsalBuffer) -> Any:
        samples = collect(self)
        drawn[0] = samples is not None
        return samples

    yield mock.patch.object(AsyncRehearsalBuffer, "collect", noted)
    yield mock.patch.object(DeviceLane, "mark", lambda self: mark(self) if drawn[0] else Event({}))


def rows_unknown_to_the_allocator() -> Patches:
    yield mock.patch.object(storage, "_in_use", lambda rows: rows)


def batches_unknown_to_the_allocator() -> Patches:
    enter = DeviceLane.enter
    yield mock.patch.object(DeviceLane, "enter", lambda self, after, uses=(): enter(self, after))


def labels_behind_the_forward_pass() -> Patches:
    decide = pipeline.Pipeline._decide

    def on_the_default_stream(*args: Any) -> Any:
        with on_stream(default_stream()):
            return decide(*args)

    yield mock.patch.object(pipeline.Pipeline, "_decide", on_the_default_stream)


def no_wait_for_the_stream_that_trains() -> Patches:
    yield mock.patch.object(DeviceLane, "mark", lambda self: Event({}))


def no_wait_for_what_was_fetched() -> Patches:
    yield mock.patch.object(DeviceLane, "leave", lambda *_: None)


def allocated_on_the_stream_that_trains() -> Patches:
    allocated = LaneMemory._allocated

    def elsewhere(self: Any, n_words: int) -> Any:
        with on_stream(default_stream()), mock.patch.object(DeviceLane, "in_turn", contextlib.nullcontext):
            return allocated(self, n_words)

    yield mock.patch.object(LaneMemory, "_allocated", elsewhere)


def batches_that_training_changes() -> Patches:
    yield mock.patch.object(Life, "own", lambda self, batch: batch)
    yield mock.patch.object(Unchanged, "check", lambda self: None)


def transfers_behind_later_work() -> Patches:
    """The mark of a transfer is taken once the background comes to it."""
    transfer_job = pipeline.Pipeline._transfer_job
    yield mock.patch.object(pipeline.Pipeline, "_transfer_job", lambda *job: lambda: transfer_job(*job)())


@pytest.mark.parametrize(
    ("fault", "case", "sign"),
    [
        (device_without_number, Case(), "tensors on cuda:0 and the host"),
        (no_wait_for_restored_rows, Case(), "index_select on stream default races with index_copy_ on stream side"),
        (no_wait_for_the_side_stream, Case(), "on stream default races with index_copy_ on stream side"),
        (empty_draws_release_no_memory, Case(sampler="old_tasks", offered=STEPS), "races with mul on stream default"),
        (rows_unknown_to_the_allocator, Case(), "freed during index_select on stream default"),
        (batches_unknown_to_the_allocator, Case(), "freed during"),
        (labels_behind_the_forward_pass, Case(tier="host", sampler="class_balanced", on_gpu=True), "waits for the for"),
        (no_wait_for_the_stream_that_trains, Case(), "races with"),
        (batches_that_training_changes, Case(), "races with mul_ on stream default"),
        (transfers_behind_later_work, Case(), "a transfer waits for what was launched after it"),
        (transfers_behind_later_work, Case(world=2, nccl=True), "a transfer waits for what was launched after it"),
        (no_wait_for_what_was_fetched, Case(), "on stream default races with index_select on stream side"),
        (allocated_on_the_stream_that_trains, Case(), "on stream side races with empty on stream default"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_faults_are_found(fault: Callable[[], Patches], case: Case, sign: str, tmp_path: Path) -> None:
    with contextlib.ExitStack() as planted:
        for patch in fault():
            planted.enter_context(patch)
        try:
            signs = list(found(case, tmp_path))
        except RuntimeError as error:
            signs = [str(error)]
    assert any(sign in found for found in signs), signs


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_device_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="device=cuda needs a CUDA device, and there is none; choose cpu"):
        AsyncRehearsalBuffer(8, replay=2).open(device="cuda")
