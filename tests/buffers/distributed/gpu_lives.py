"""The life of a buffer beside a GPU that is not there: training, saving, closing, opening again and resuming."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from redwood.buffers import SAMPLERS, AsyncRehearsalBuffer
from redwood.buffers.distributed import async_buffer as engine
from redwood.buffers.distributed.checkpoint import read_checkpoint, take_snapshot, write_checkpoint
from redwood.buffers.merging import copied
from tests.buffers.distributed.fake_gpu import FakeGpu

STEPS, MORE, BATCH = 4, 2, 6
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
        late: Whether the forward pass makes a leaf of what is stored.
    """

    tier: str = "cuda"
    sampler: str = "uniform"
    world: int = 1
    nccl: bool = False
    on_gpu: bool = False
    offered: int = 1
    overlap: bool = True
    late: bool = False


PLACES = [
    ("cuda", 1, False),
    ("pinned", 1, False),
    ("host", 1, False),
    ("cuda", 2, False),
    ("pinned", 2, False),
    ("host", 2, False),
    ("cuda", 2, True),
]
SHARED = [name for name, sampler in SAMPLERS.items() if sampler.shared]
FLAGS = list(itertools.product((False, True), (1, STEPS), (True, False), (False, True)))
# Half of them has all combinations of each three flags.
HALF = [flags for flags in FLAGS if sum(flag in (True, STEPS) for flag in flags) % 2]


class OtherWorker:
    """Peers that are joined by nothing: the second worker stores as much as this one, and sends zeros."""

    def __init__(self, world: int) -> None:
        self.rank, self.world, self.group = 0, world, None

    def gather(self, message: Tensor) -> Tensor:
        return torch.stack([message] * self.world)

    def exchange(self, received: Tensor, sent: Tensor, *_: Any) -> None:
        if self.world > 1:
            sent.view(torch.int64).clone()
            received.view(torch.int64).fill_(0)

    def connected(self, group: Any, device: torch.device) -> Any:
        return group if self.world > 1 else None

    def leave(self) -> None:
        """Nobody to tell."""

    check = watch = begin_pause = end_pause = leave  # nobody can be lost


@contextmanager
def joined_by_nothing(world: int) -> Iterator[None]:
    """Let buffers find `OtherWorker`s."""
    peers = mock.patch.object(engine, "Peers", lambda *_, **__: OtherWorker(world))
    with peers, mock.patch.object(engine, "place_in", lambda _: (0, world)):
        yield


def batch_of(step: int) -> dict[str, Tensor]:
    """Samples of one task, which changes in each step: where only the first one is stored, some draws are empty."""
    x = torch.arange(10.0) + step + torch.arange(BATCH)[:, None] / 8
    return {"x": x, "y": torch.arange(BATCH) % 3, "task_id": torch.full((BATCH,), step % 2)}


class Life:
    """Trains as the strategy does, with `gpu`, or in host memory without one; notes what was drawn and stored.

    Attributes:
        drawn: What each step used of the rows that were drawn for it.
    """

    def __init__(self, case: Case, gpu: FakeGpu | None) -> None:
        self.case, self._gpu = case, gpu
        self._device = "cpu" if gpu is None else "cuda"
        self.drawn: list[Tensor] = []

    def make(self) -> AsyncRehearsalBuffer:
        case = self.case
        tier = "host" if self._gpu is None else case.tier
        return AsyncRehearsalBuffer(16, replay=5, policy="ring", sampler=case.sampler, tier=tier, overlap=case.overlap)

    def opened(self, memory: AsyncRehearsalBuffer | None = None) -> AsyncRehearsalBuffer:
        memory = memory or self.make()
        memory.open(device=self._device, rows_group=NCCL if self.case.nccl else None)  # type: ignore[arg-type]
        return memory

    def train(self, memory: AsyncRehearsalBuffer, steps: int, start: int) -> None:
        """What the strategy does in each step: copy, collect, propose, write, forward, backward.

        The module changes its batch in place.
        """
        for step in range(start, start + steps):
            raw = batch_of(step)
            batch = {name: leaf.to(self._device, non_blocking=True) for name, leaf in copied(raw).items()}
            own = self.own(batch)
            old = memory.collect()
            if self._gpu is not None:
                self._gpu.begin_step()
            known = own if self.case.on_gpu else raw
            offered = step % self.case.offered == 0
            memory.propose(known, labels=known["y"], tasks=known["task_id"], offered=offered)
            incoming = own if memory.on_gpu else raw
            if not self.case.late:
                memory.write(incoming)
            y = self._forward(batch["x"] if old is None else torch.cat([batch["x"], old["x"]]))
            if self.case.late:
                logits = y[:BATCH].clone()
                memory.write(incoming | {"logits": logits})
            for leaf in batch.values():
                leaf.mul_(3)
            memory.weight()
            if old is not None:
                self.drawn.append((old["x"] * 3).clone())
            y.sum()

    def own(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the background may read of a batch that the module changes."""
        return copied(batch)  # type: ignore[no-any-return]

    def _forward(self, x: Tensor) -> Tensor:
        return x * 2 if self._gpu is None else self._gpu.launch_forward(x)

    def note(self, memory: AsyncRehearsalBuffer) -> None:
        """Note what is stored."""
        self.drawn += [memory.buffer.all()["x"].clone(), memory.buffer.ages().clone()]

    def whole(self, folder: Path) -> None:
        """Train, save, train on, close, read, open again; resume in another buffer, and load into one that is open."""
        memory = self.opened()
        self.train(memory, STEPS, 0)
        memory.flush()
        write_checkpoint(take_snapshot(memory.buffer, memory.extra_state()), folder, 0, 1, None)
        self.train(memory, MORE, STEPS)
        memory.close()
        self.note(memory)
        memory.buffer.class_counts()
        self.drawn.append(memory.buffer.state_dict()["rows"]["x"])
        self.opened(memory)
        self.train(memory, MORE, STEPS + MORE)
        memory.flush()
        self.note(memory)
        memory.reset()
        memory.restore(read_checkpoint(folder, memory.buffer, 0, 1))
        self.train(memory, MORE, STEPS)
        memory.close()
        resumed = self.make()
        resumed.prepare(0, self.case.world, self._device)
        resumed.restore(read_checkpoint(folder, resumed.buffer, 0, 1))
        self.note(resumed)
        self.opened(resumed)
        self.train(resumed, MORE, STEPS)
        resumed.close()
        self.note(resumed)
