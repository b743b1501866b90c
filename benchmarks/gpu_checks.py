"""Checks of `gpu.py` that come before all figures: whether a buffer beside a GPU does what the host does."""

import random
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
from torch import Tensor

from redwood.buffers import AsyncRehearsalBuffer
from redwood.buffers.distributed.checkpoint import read_checkpoint, take_snapshot, write_checkpoint
from redwood.buffers.distributed.peers import place_in
from redwood.buffers.distributed.row_exchange import RowExchange
from redwood.buffers.pytree import flatten
from redwood.buffers.storage import RowStorage

Batch = dict[str, Tensor]
Draw = list[Tensor]
CLASSES = 1000
NEEDS_GPU = "left out: it needs a GPU"
# Steps of a run that is compared with the host's, and of the one that must not wait; cycles of a delay at most.
STEPS, STEPS_WITHOUT_WAIT, CYCLES = 60, 1000, 2_000_000
# Bytes that are left on a GPU for which rows are too many, and the number of these rows of 3 kB.
LEFT, MANY = 512 * 2**20, 130_000
POLICIES = ("reservoir", "class_balanced", "per_class_random")


def random_batch(n: int, shape: tuple[int, ...]) -> Batch:
    """Samples in host memory, different ones on each worker."""
    generator = torch.Generator().manual_seed(dist.get_rank() if dist.is_initialized() else 0)
    x = torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=generator)
    return {"x": x, "y": torch.randint(0, CLASSES, (n,), generator=generator)}


def rows_group() -> Any:
    """The group that rows travel in, if they travel from GPU to GPU."""
    return dist.group.WORLD if dist.is_initialized() and dist.get_backend() == "nccl" else None


class Run:
    """Trains for some steps without a network: draws, stores, and keeps what it drew.

    Attributes:
        drawn: What each step drew, leaf by leaf, where training is.
    """

    def __init__(self, device: torch.device, tier: str, policy: str, size: int = 150) -> None:
        self._device = device
        self.memory = AsyncRehearsalBuffer(size, replay=7, policy=policy, tier=tier)
        self.drawn: list[Draw] = []

    def open(self) -> None:
        """Join the other workers."""
        self.memory.open(device=self._device, rows_group=rows_group() if self._device.type == "cuda" else None)

    def train(self, samples: list[Batch]) -> None:
        """One step for each batch."""
        for raw in samples:
            batch = {name: leaf.to(self._device, non_blocking=True) for name, leaf in raw.items()}
            delay(self._device)
            self.drawn.append([leaf.clone() for _, leaf in flatten(self.memory.collect() or {})])
            with self.memory.together():
                self.memory.propose(raw, labels=raw["y"])
                self.memory.write(batch if self.memory.on_gpu else raw)
            delay(self._device)
            self.memory.weight()

    def result(self) -> list[Draw]:
        """What was drawn, on the host."""
        return [[leaf.cpu() for leaf in draw] for draw in self.drawn]


_delays: list[random.Random] = []


def delay(device: torch.device) -> None:
    """Within `delayed`: hold the current stream up for a random time, or the thread without a GPU."""
    if not _delays:
        return
    share = _delays[0].random() ** 4  # mostly short
    if device.type == "cuda":
        torch.cuda._sleep(int(share * CYCLES))
    else:
        time.sleep(share / 500)


@contextmanager
def delayed(seed: int) -> Iterator[None]:
    """Hold streams up at random: the one that trains, and the lane before rows are written, gathered and exchanged."""

    def behind_a_delay(method: Callable[..., Any], device_of: Callable[[Any], torch.device]) -> Callable[..., Any]:
        def held_up(self: Any, *args: Any, **kwargs: Any) -> Any:
            delay(device_of(self))
            return method(self, *args, **kwargs)

        return held_up

    _delays.append(random.Random(seed))
    storage, lane = (lambda rows: rows.device), (lambda exchange: exchange._lane.device)
    with (
        mock.patch.object(RowStorage, "write_leaves", behind_a_delay(RowStorage.write_leaves, storage)),
        mock.patch.object(RowStorage, "gather", behind_a_delay(RowStorage.gather, storage)),
        mock.patch.object(RowExchange, "fetch", behind_a_delay(RowExchange.fetch, lane)),
    ):
        try:
            yield
        finally:
            _delays.clear()


def equal(one: list[Draw], other: list[Draw]) -> bool:
    """Whether two runs drew the same, bit for bit."""
    return len(one) == len(other) and all(
        len(a) == len(b) and all(map(torch.equal, a, b)) for a, b in zip(one, other, strict=True)
    )


def samples_of(steps: int) -> list[Batch]:
    """Batches for so many steps."""
    whole = random_batch(24 * steps, (3, 32, 32))
    return [{name: leaf[24 * step : 24 * step + 24] for name, leaf in whole.items()} for step in range(steps)]


def drawn(device: torch.device, tier: str, policy: str, size: int = 150) -> list[Draw]:
    """What a whole run draws."""
    run = Run(device, tier, policy, size)
    run.open()
    run.train(samples_of(STEPS))
    run.memory.close()
    return run.result()


def different_draws(device: torch.device, tiers: tuple[str, ...], seeds: int = 3) -> list[str]:
    """The policies, tiers and seeds of random delays with which draws differ from those in host memory."""
    found = []
    for policy in POLICIES:
        wanted = drawn(torch.device("cpu"), "host", policy)
        for tier in tiers:
            for seed in range(seeds):
                with delayed(100 * seed + place_in(None)[0]):
                    if not equal(drawn(device, tier, policy), wanted):
                        found.append(f"{policy}, {tier}, delays {seed}")
    return found


def resumed_differently(device: torch.device, tiers: tuple[str, ...]) -> list[str]:
    """The tiers in which a run that is saved half-way, in the middle of delays, resumes otherwise than it goes on."""
    found, samples = [], samples_of(STEPS)
    for tier in tiers:
        wanted = drawn(torch.device("cpu"), "host", "reservoir")
        with tempfile.TemporaryDirectory() as folder, delayed(1):
            first, second = Run(device, tier, "reservoir"), Run(device, tier, "reservoir")
            first.open()
            first.train(samples[: STEPS // 2])
            first.memory.flush()
            write_checkpoint(take_snapshot(first.memory.buffer, first.memory.extra_state()), Path(folder), 0, 1, None)
            first.train(samples[STEPS // 2 :])
            first.memory.close()
            second.memory.prepare(0, 1, device)
            second.memory.restore(read_checkpoint(Path(folder), second.memory.buffer, 0, 1))
            second.open()
            second.train(samples[STEPS // 2 :])
            second.memory.close()
        if not (equal(first.result(), wanted) and equal(second.result(), wanted[STEPS // 2 :])):
            found.append(tier)
    return found


def waits_of_the_host(device: torch.device) -> str:
    """Where the host waits for the GPU in 1,000 steps with rows on the GPU, as torch's debug mode tells."""
    if device.type != "cuda":
        return NEEDS_GPU
    run, samples = Run(device, "cuda", "reservoir"), samples_of(8)
    pinned = [{name: leaf.pin_memory() for name, leaf in batch.items()} for batch in samples]
    run.open()
    with closing(run.memory):
        run.train(pinned)  # memory is allocated
        torch.cuda.set_sync_debug_mode("error")
        try:
            for _ in range(STEPS_WITHOUT_WAIT // len(pinned)):
                run.train(pinned)
                run.drawn.clear()
        except RuntimeError as error:
            return f"waited: {error}"
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return "none"


def with_little_memory(device: torch.device) -> str:
    """What becomes of rows for which the GPU has no room left: they have to go elsewhere, and draws stay the same."""
    if device.type != "cuda":
        return NEEDS_GPU
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(device)
    filling = torch.empty(free - LEFT, dtype=torch.uint8, device=device)
    run = Run(device, "auto", "reservoir", MANY)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        run.open()
        run.train(samples_of(STEPS))
        run.memory.close()
    tier = run.memory.buffer.rows.tier
    del filling
    told = sum("rows take" in str(warning.message) for warning in warned)
    same = equal(run.result(), drawn(torch.device("cpu"), "host", "reservoir", MANY))
    return f"rows on the tier {tier}, {told} warning(s), draws {'as on the host' if same else 'DIFFER'}"


def checks(device: torch.device, tiers: tuple[str, ...]) -> dict[str, str]:
    """What each check says, in words; this thread alone."""
    assert threading.current_thread() is threading.main_thread()
    return {
        f"draws under random delays, {STEPS} steps, that differ from the host's": ", ".join(
            different_draws(device, tiers)
        )
        or "none",
        "tiers in which a saved run resumes differently": ", ".join(resumed_differently(device, tiers)) or "none",
        f"waits of the host in {STEPS_WITHOUT_WAIT:,} steps": waits_of_the_host(device),
        "a GPU without room": with_little_memory(device),
    }
