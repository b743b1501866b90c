"""Everything on a GPU happens in order, as a GPU that keeps vector clocks finds; each known fault is found by it."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor

from redwood.buffers import AsyncRehearsalBuffer, storage
from redwood.buffers.distributed import async_buffer as engine
from redwood.buffers.distributed import pipeline
from redwood.buffers.distributed.checkpoint import read_checkpoint, take_snapshot, write_checkpoint
from redwood.buffers.distributed.device_lane import DeviceLane, LaneMemory
from tests.buffers.distributed.fake_gpu import Event, FakeGpu, default_stream, on_stream

STEPS, BATCH = 8, 6
SAMPLERS = ("uniform", "class_balanced", "task_balanced", "old_tasks")
NCCL = object()


@dataclass(frozen=True)
class Case:
    """How a buffer is used.

    Attributes:
        tier: Where rows are.
        sampler: What is drawn.
        world: Workers; the second one only answers.
        nccl: Whether these exchange rows on the GPU.
        on_gpu: Whether decisions are told what is only on the GPU.
        offered: In which of how many steps samples are stored.
        overlap: Whether jobs are done in the background.
    """

    tier: str = "cuda"
    sampler: str = "uniform"
    world: int = 1
    nccl: bool = False
    on_gpu: bool = False
    offered: int = 1
    overlap: bool = True


class OtherWorker:
    """Peers that are joined by nothing: the second worker stores as much as this one, and sends zeros."""

    def __init__(self, world: int) -> None:
        self.rank, self.world = 0, world

    def gather(self, message: Tensor) -> Tensor:
        return torch.stack([message] * self.world)

    def exchange(self, received: Tensor, sent: Tensor, *_: Any) -> None:
        if self.world > 1:
            sent.view(torch.int64).clone()
            received.view(torch.int64).fill_(0)

    def leave(self) -> None:
        """Nobody to tell."""


def make(case: Case) -> AsyncRehearsalBuffer:
    return AsyncRehearsalBuffer(16, replay=5, policy="ring", sampler=case.sampler, tier=case.tier, overlap=case.overlap)


def opened(case: Case, memory: AsyncRehearsalBuffer | None = None) -> AsyncRehearsalBuffer:
    memory = memory or make(case)
    memory.open(device="cuda", rows_group=NCCL if case.nccl else None)  # type: ignore[arg-type]
    return memory


def batch_of(step: int) -> dict[str, Tensor]:
    """Samples of one task, which changes in each step: where only the first one is stored, some draws are empty."""
    x = torch.full((BATCH, 10), float(step))
    return {"x": x, "y": torch.arange(BATCH) % 3, "task_id": torch.full((BATCH,), step % 2)}


def train(gpu: FakeGpu, memory: AsyncRehearsalBuffer, case: Case, steps: int = STEPS, start: int = 0) -> None:
    """What the strategy does in a step: collect, announce, forward, store, backward."""
    for step in range(start, start + steps):
        raw = batch_of(step)
        batch = {name: leaf.to("cuda", non_blocking=True) for name, leaf in raw.items()}
        old = memory.collect()
        gpu.begin_step()
        known = batch if case.on_gpu else raw
        offered = step % case.offered == 0
        memory.propose(known, labels=known["y"], tasks=known["task_id"], offered=offered)
        x = batch["x"] if old is None else torch.cat([batch["x"], old["x"]])
        y = gpu.launch_forward(x)
        memory.write(batch if memory.on_gpu else raw)
        memory.weight()
        _ = None if old is None else (old["x"] * 3).sum()
        y.sum()


def whole_life(gpu: FakeGpu, case: Case, folder: Path) -> None:
    """Train, save, train on, close, read, open again; resume in another buffer, and load into one that is open."""
    memory = opened(case)
    train(gpu, memory, case)
    memory.flush()
    write_checkpoint(take_snapshot(memory.buffer, memory.extra_state()), folder, 0, 1, None)
    train(gpu, memory, case, 3, STEPS)
    memory.close()
    memory.buffer.all()
    memory.buffer.class_counts()
    memory.buffer.state_dict()
    opened(case, memory)
    train(gpu, memory, case, 3, STEPS + 3)
    memory.flush()
    memory.buffer.all()
    memory.reset()
    memory.restore(read_checkpoint(folder, memory.buffer, 0, 1))
    train(gpu, memory, case, 3, STEPS)
    memory.close()
    resumed = make(case)
    resumed.prepare(0, case.world, "cuda")
    resumed.restore(read_checkpoint(folder, resumed.buffer, 0, 1))
    resumed.buffer.all()
    opened(case, resumed)
    train(gpu, resumed, case, 3, STEPS)
    resumed.close()


def found(case: Case, folder: Path, life: Callable[..., None] = whole_life) -> dict[str, str]:
    """What is out of order in the life of a buffer."""
    peers = mock.patch.object(engine, "Peers", lambda *_: OtherWorker(case.world))
    with FakeGpu() as gpu, peers, mock.patch.object(engine, "place_in", lambda _: (0, case.world)):
        life(gpu, case, folder)
    return gpu.found


CASES = [
    Case(),
    Case(sampler="old_tasks", on_gpu=True),
    Case(sampler="class_balanced", offered=STEPS, overlap=False),
    Case(world=2, nccl=True, sampler="task_balanced", on_gpu=True),
    Case(world=2, sampler="old_tasks", offered=STEPS),
    Case(tier="host", sampler="class_balanced", on_gpu=True),
    Case(tier="pinned", world=2, sampler="old_tasks"),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_no_race(case: Case, tmp_path: Path) -> None:
    assert not found(case, tmp_path)


PLACES = [(tier, world, nccl) for tier in ("cuda", "pinned", "host") for world, nccl in ((1, False), (2, False))]
FLAGS = itertools.cycle(itertools.product((False, True), (1, STEPS), (True, False)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        Case(tier, sampler, world, nccl, on_gpu, offered, overlap)
        for (tier, world, nccl), sampler in itertools.product([*PLACES, ("cuda", 2, True)], SAMPLERS)
        for on_gpu, offered, overlap in itertools.islice(FLAGS, 2)
    ],
    ids=str,
)
def test_no_race_anywhere(case: Case, tmp_path: Path) -> None:
    assert not found(case, tmp_path)


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
