"""One process of `overlap.py`: a loop of distributed data-parallel training in which the variants take turns."""

import time
from typing import Any

import torch
import torch.distributed as dist
from overlap_cases import BATCH, CANDIDATES, Case, Variant, rotated
from overlap_models import CLASSES, build
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from redwood.buffers import AsyncRehearsalBuffer
from redwood.buffers.merging import merged

# Samples stored over all workers, samples that there are, and untimed steps in which the buffers fill up.
STORED, POOL, FILLING = 800, 1024, 40

Batch = dict[str, Tensor]


class Memory:
    """A buffer whose exchange of rows can be held up, as by a slow link."""

    def __init__(self, case: Case, overlap: bool) -> None:
        self.delay = 0.0
        self.buffer = AsyncRehearsalBuffer(STORED, replay=case.replay, candidates=CANDIDATES, overlap=overlap)
        self.buffer.open()
        peers: Any = self.buffer.peers
        exchange = peers.exchange

        def held_up(*args: Any, **kwargs: Any) -> None:
            if self.delay:
                time.sleep(self.delay)
            exchange(*args, **kwargs)

        peers.exchange = held_up


class Loop:
    """Trains one model in all ways; nothing but the way differs."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.model = DistributedDataParallel(build(case.model, case.train / 1e3 / BATCH))
        self.optimiser = torch.optim.SGD(self.model.parameters(), lr=1e-4)
        random = torch.Generator().manual_seed(dist.get_rank())
        self.pool = {
            "x": torch.randint(0, 256, (POOL, *case.shape), dtype=torch.uint8, generator=random),
            "y": torch.randint(0, CLASSES, (POOL,), generator=random),
        }
        ways = {variant.overlap for variant in case.variants.values()} - {None}
        self.memories = {overlap: Memory(case, bool(overlap)) for overlap in sorted(ways, key=bool)}
        self.position = 0
        self.calling = self.merging = 0.0
        for memory in self.memories.values():
            for _ in range(FILLING):
                memory.buffer.collect()
                batch = self.batch(BATCH)
                memory.buffer.add(batch, labels=batch["y"])
            memory.buffer.flush()

    def batch(self, n: int) -> Batch:
        """The next n samples, as views: they are in memory, as if a loader had put them there."""
        if self.position + n > POOL:
            self.position = 0
        start, self.position = self.position, self.position + n
        return {name: leaf[start : start + n] for name, leaf in self.pool.items()}

    def step(self, variant: Variant, memory: AsyncRehearsalBuffer | None) -> None:
        """What the strategy does around a training step, in its order."""
        batch = self.batch(variant.n)
        parts = [batch]
        if memory is not None:
            start = time.perf_counter()
            replayed = memory.collect()
            collected = time.perf_counter()
            parts = [merged(batch, replayed)] if self.case.joins else [batch, replayed]
            joined = time.perf_counter()
            memory.add(batch, labels=batch["y"])
            self.calling += time.perf_counter() - joined + collected - start
            self.merging += joined - collected
        self.optimiser.zero_grad()
        labels = batch["y"] if memory is None else torch.cat([part["y"] for part in parts])
        loss = cross_entropy(self.model(*(part["x"] for part in parts)), labels)
        if memory is not None:
            start = time.perf_counter()
            weight = memory.weight()
            self.calling += time.perf_counter() - start
            loss = loss if weight == 1.0 else loss * weight
        loss.backward()
        self.optimiser.step()

    def turn(self, variant: Variant, steps: int) -> dict[str, Any]:
        """Some steps of a variant, and one before them that is not timed: it has no exchange to wait for."""
        chosen = None if variant.overlap is None else self.memories[variant.overlap]
        memory = None if chosen is None else chosen.buffer
        if chosen is not None:
            chosen.delay = variant.delay / 1e3
        dist.barrier()
        self.step(variant, memory)
        before = {} if memory is None else dict(memory.profiler.seconds)
        self.calling = self.merging = 0.0
        cpu, times, last = time.process_time(), [], time.perf_counter()
        for _ in range(steps):
            self.step(variant, memory)
            now = time.perf_counter()
            times.append(1e3 * (now - last))
            last = now
        cpu = time.process_time() - cpu
        parts = (
            {}
            if memory is None
            else {
                name: 1e3 * (seconds - before[name]) / steps
                for name, seconds in memory.profiler.seconds.items()
                if name != "step"
            }
        )
        timeline = memory.profiler.timeline() if memory is not None else []
        if memory is not None:
            memory.flush()
            memory.profiler.pause()
        return {
            "times": times,
            "cpu": 1e3 * cpu / steps,
            "parts": parts | {"calls": 1e3 * self.calling / steps, "merge": 1e3 * self.merging / steps},
            "timeline": timeline,
        }

    def close(self) -> None:
        """Leave the other workers."""
        dist.barrier()
        for memory in self.memories.values():
            memory.buffer.close()


def run(case: Case) -> dict[str, list[dict[str, Any]]]:
    """All turns of the variants of a case: in rotating order, the same on all workers."""
    loop = Loop(case)
    turns: dict[str, list[dict[str, Any]]] = {name: [] for name in case.variants}
    for number in range(-1, case.blocks):
        for name in rotated(list(case.variants), number):
            turn = loop.turn(case.variants[name], case.steps if number >= 0 else 2)
            if number >= 0:
                turns[name].append(turn)
    loop.close()
    return turns


def work(rank: int, world: int, store: str, cases: list[Case], results: str) -> None:
    """The life of a process; the first one writes what all of them measured."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    measured: list[Any] = []
    for case in cases:
        everyone: list[Any] = [None] * world
        dist.all_gather_object(everyone, run(case))
        measured.append(everyone)
        if rank == 0:
            print(f"{world} processes: {case.part}, {case.model}", flush=True)
    if rank == 0:
        torch.save(measured, results)
    dist.destroy_process_group()
