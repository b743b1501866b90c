"""One process of `overlap_gpu.py`: a training loop on a GPU in which the variants take turns."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.distributed as dist
from overlap_cases import ASYNC, IDEAL, PLAIN, SYNC, Case, Variant, rotated
from overlap_gpu_checks import Waits, different_results
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from redwood.buffers import AsyncRehearsalBuffer
from redwood.buffers.strategy.batches import merged

# Samples stored over all workers, samples that there are, untimed steps of a turn, and steps before the first turn.
STORED, POOL, LEAD, WARM_UP, CLASSES = 4096, 1152, 3, 6, 1000
TIERS = ("cuda", "pinned")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class GpuVariant(Variant):
    """One way to train on a GPU.

    Attributes:
        tier: Where samples are stored.
    """

    tier: str = ""


@dataclass(frozen=True)
class GpuCase(Case):
    """Variants that are compared on GPUs.

    Attributes:
        batch: Samples b of a step.
    """

    batch: int = 56


def gpu_case(batch: int, blocks: int, steps: int) -> GpuCase:
    """Plain training and rehearsal with both tiers, r = b / 8 and c = b / 4."""
    replay = batch // 8
    variants: dict[str, Variant] = {PLAIN: GpuVariant(batch), IDEAL: GpuVariant(batch + replay)}
    for tier in TIERS:
        variants[f"{SYNC}, {tier}"] = GpuVariant(batch, overlap=False, tier=tier)
        variants[f"{ASYNC}, {tier}"] = GpuVariant(batch, overlap=True, tier=tier)
    return GpuCase(
        "GPU", "ResNet-50", (3, 224, 224), replay=replay, blocks=blocks, steps=steps, variants=variants, batch=batch
    )


class Normalised(nn.Module):
    """A network on images (n, 3, H, W) of bytes, which are normalised where they are."""

    mean: Tensor
    scale: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", 255 * torch.tensor(MEAN).view(3, 1, 1))
        self.register_buffer("scale", 1 / (255 * torch.tensor(STD).view(3, 1, 1)))

    def forward(self, images: Tensor) -> Tensor:
        """Scores (n, classes)."""
        floats = (images.contiguous(memory_format=torch.channels_last).float() - self.mean) * self.scale
        scores: Tensor = self.network(floats)
        return scores


def resnet50() -> nn.Module:
    """ResNet-50 with random weights, on bytes."""
    from torchvision.models import resnet50 as build

    torch.manual_seed(0)
    return Normalised(build(weights=None))


def pool(shape: tuple[int, ...], *, pinned: bool) -> Batch:
    """Samples in host memory."""
    random = torch.Generator().manual_seed(dist.get_rank() if dist.is_initialized() else 0)
    samples = {
        "x": torch.randint(0, 256, (POOL, *shape), dtype=torch.uint8, generator=random),
        "y": torch.randint(0, CLASSES, (POOL,), generator=random),
    }
    return {name: leaf.pin_memory() if pinned else leaf for name, leaf in samples.items()}


class GpuLoop:
    """Trains one model in all ways; nothing but the way differs."""

    def __init__(self, case: GpuCase, device: torch.device, build: Callable[[], nn.Module] = resnet50) -> None:
        self.case, self.device = case, device
        model = build().to(device, memory_format=torch.channels_last)
        self.model = DistributedDataParallel(model) if dist.is_initialized() else model
        self.optimiser = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
        self.pool, self.position = pool(case.shape, pinned=device.type == "cuda"), 0
        self.watch: Callable[[], AbstractContextManager[Any]] = nullcontext
        self.memories: dict[Variant, AsyncRehearsalBuffer] = {}
        self.collected: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        for variant in case.variants.values():
            if isinstance(variant, GpuVariant) and variant.overlap is not None:
                self.memories[variant] = self._filled(variant)

    def _filled(self, variant: GpuVariant) -> AsyncRehearsalBuffer:
        memory = AsyncRehearsalBuffer(
            *(STORED,),
            replay=self.case.replay,
            candidates=self.case.batch // 4,
            tier=variant.tier,
            overlap=variant.overlap,
        )
        nccl = dist.is_initialized() and dist.get_backend() == "nccl"
        memory.open(device=self.device, rows_group=dist.group.WORLD if nccl else None)
        for _ in range(2 * STORED // self.case.batch):
            memory.collect()
            raw = self.batch(self.case.batch)
            memory.propose(raw, labels=raw["y"])
            memory.write(self.on_device(raw) if memory.on_gpu else raw)
        memory.flush()
        return memory

    def batch(self, n: int) -> Batch:
        """The next n samples, in pinned memory, as a loader would bring them."""
        if self.position + n > POOL:
            self.position = 0
        start, self.position = self.position, self.position + n
        return {name: leaf[start : start + n] for name, leaf in self.pool.items()}

    def on_device(self, raw: Batch) -> Batch:
        """Samples on the GPU, without waiting for them."""
        return {name: leaf.to(self.device, non_blocking=True) for name, leaf in raw.items()}

    def step(self, variant: Variant) -> None:
        """What the strategy does around a training step on a GPU, in its order.

        Synchronous rehearsal stores before the forward pass, and waits until the GPU has brought the next draw.
        """
        memory, raw = self.memories.get(variant), self.batch(variant.n)
        batch = self.on_device(raw)
        fresh = batch if memory is not None and memory.on_gpu else raw
        if memory is not None:
            replayed = self.collect(memory)
            with self.watch():
                memory.propose(raw, labels=raw["y"])
            if not variant.overlap:
                memory.write(fresh)
                torch.cuda.synchronize(self.device)
            batch = merged(batch, replayed)
        self.optimiser.zero_grad()
        with torch.autocast(self.device.type, torch.bfloat16):
            loss = cross_entropy(self.model(batch["x"]), batch["y"])
        if memory is not None:
            with self.watch():
                if variant.overlap:
                    memory.write(fresh)
                weight = memory.weight()
            loss = loss if weight == 1.0 else loss * weight
        loss.backward()
        self.optimiser.step()

    def collect(self, memory: AsyncRehearsalBuffer) -> Any:
        """The representatives; what the GPU waits for them is between two events."""
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        before.record()
        with self.watch():
            replayed = memory.collect()
        after.record()
        self.collected.append((before, after))
        return replayed

    def turn(self, variant: Variant, steps: int) -> dict[str, Any]:
        """Some steps of a variant, timed on the stream that trains, and a few before them that are not."""
        memory = self.memories.get(variant)
        if dist.is_initialized():
            dist.barrier()
        for _ in range(LEAD):
            self.step(variant)
        before = memory.profiler.seconds["wait"] if memory is not None else 0.0
        self.collected, events = [], [torch.cuda.Event(enable_timing=True) for _ in range(steps + 1)]
        events[0].record()
        for event in events[1:]:
            self.step(variant)
            event.record()
        parts, timeline = {}, []
        if memory is not None:
            parts["host wait"] = 1e3 * (memory.profiler.seconds["wait"] - before) / steps
            timeline = memory.profiler.timeline()
            memory.flush()
            memory.profiler.pause()
        torch.cuda.synchronize(self.device)
        if memory is not None:
            parts["GPU wait"] = sum(start.elapsed_time(end) for start, end in self.collected) / steps
        times = [start.elapsed_time(end) for start, end in pairwise(events)]
        return {"times": times, "cpu": 0.0, "parts": parts, "timeline": timeline}

    def waits(self) -> dict[str, list[str]]:
        """Where asynchronous rehearsal makes the thread that trains wait for the GPU, by variant."""
        found = {}
        for name, variant in self.case.variants.items():
            if variant.overlap:
                waits = Waits()
                self.watch = waits.watched
                with waits.recorded():
                    self.turn(variant, 5)
                self.watch = nullcontext
                found[name] = sorted(set(waits.places))
        return found

    def close(self) -> None:
        """Leave the other workers."""
        if dist.is_initialized():
            dist.barrier()
        for memory in self.memories.values():
            memory.close()


def run(loop: GpuLoop) -> dict[str, list[dict[str, Any]]]:
    """All turns of the variants of a case: in rotating order, the same on all workers."""
    variants, blocks = loop.case.variants, loop.case.blocks
    for variant in variants.values():  # libraries choose their algorithms for each shape
        loop.turn(variant, WARM_UP)
    turns: dict[str, list[dict[str, Any]]] = {name: [] for name in variants}
    for number in range(blocks):
        for name in rotated(list(variants), number):
            turns[name].append(loop.turn(variants[name], loop.case.steps))
    return turns


def work(rank: int, world: int, backend: str, store: str, cases: list[GpuCase], results: str) -> None:
    """The life of a process; the first one writes what all of them measured.

    Args:
        rank: Its number.
        world: Number of processes; alone, there is no process group.
        backend: `gloo`: all share one GPU; `nccl`: each has its own.
        store: File over which the processes find each other.
        cases: What to measure.
        results: File for what was found.
    """
    torch.set_num_threads(1)
    torch.backends.cudnn.benchmark = True
    device = torch.device("cuda", rank if backend == "nccl" else 0)
    torch.cuda.set_device(device)
    if world > 1:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        dist.init_process_group(backend, init_method=f"file://{store}", rank=rank, world_size=world)
    found: dict[str, Any] = {"different": different_results(device, TIERS), "turns": []}
    for number, case in enumerate(cases):
        loop = GpuLoop(case, device)
        found["turns"].append(run(loop))
        if number == 0:
            found["waits"] = loop.waits()
            if world == 1:
                from overlap_gpu_trace import trace

                found["traces"] = {name: trace(loop, v) for name, v in case.variants.items() if v.overlap}
        loop.close()
        del loop
        torch.cuda.empty_cache()
    everyone: list[Any] = [found]
    if world > 1:
        everyone = [None] * world
        dist.all_gather_object(everyone, found)
        dist.destroy_process_group()
    if rank == 0:
        torch.save(everyone, results)
