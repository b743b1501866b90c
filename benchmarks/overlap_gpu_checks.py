"""Checks of `overlap_gpu.py`: the same results as on the host, and no waiting for the GPU."""

import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from redwood.buffers import AsyncRehearsalBuffer
from redwood.buffers.pytree import flatten

STEPS, BATCH = 60, 24


def different_results(device: torch.device, tiers: Sequence[str]) -> list[str]:
    """What a buffer with each of the tiers draws on a device and one in host memory does not: none, if all is well."""
    rank = dist.get_rank() if dist.is_initialized() else 0
    nccl = dist.is_initialized() and dist.get_backend() == "nccl"
    random, found = torch.Generator().manual_seed(rank), []
    samples = [
        {
            "x": torch.randint(0, 256, (BATCH, 3, 32, 32), dtype=torch.uint8, generator=random),
            "y": torch.randint(0, 10, (BATCH,), generator=random),
        }
        for _ in range(STEPS)
    ]
    for policy in ("reservoir", "class_balanced", "per_class_random"):
        expected = _drawn(samples, torch.device("cpu"), "host", policy, nccl=False)
        for tier in tiers:
            drawn = _drawn(samples, device, tier, policy, nccl=nccl)
            steps = [
                step
                for step, (one, other) in enumerate(zip(expected, drawn, strict=True))
                if len(one) != len(other) or not all(map(torch.equal, one, other))
            ]
            if steps:
                found.append(
                    f"{policy}, tier {tier}: {len(steps)} of {STEPS} draws differ, the first in step {steps[0]}"
                )
    return found


def _drawn(samples: list[Any], device: torch.device, tier: str, policy: str, *, nccl: bool) -> list[list[torch.Tensor]]:
    memory = AsyncRehearsalBuffer(150, replay=7, policy=policy, tier=tier)
    memory.open(device=device, rows_group=dist.group.WORLD if nccl else None)
    drawn = []
    for batch in samples:
        # The copy waits for the rows; what is drawn is the same, however long they take.
        drawn.append([leaf.cpu() for _, leaf in flatten(memory.collect() or {})])
        memory.propose(batch, labels=batch["y"])
        memory.write({name: leaf.to(device) for name, leaf in batch.items()} if memory.on_gpu else batch)
    memory.close()
    return drawn


class Waits:
    """Notes where the thread that trains waits for the GPU, as torch's debug mode for synchronisation tells.

    The mode is one for all threads, and others may wait, so it warns, and only what this thread is warned of is kept.

    Attributes:
        places: File and line of each call that waited.
    """

    def __init__(self) -> None:
        self.places: list[str] = []
        self._thread = threading.get_ident()
        self._is_watching = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Calls that are not to wait."""
        torch.cuda.set_sync_debug_mode("warn")
        self._is_watching = True
        try:
            yield
        finally:
            self._is_watching = False
            torch.cuda.set_sync_debug_mode("default")

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Warnings inside are kept, and not shown."""
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = self._keep
            yield

    def _keep(self, message: Any, category: Any, filename: str, lineno: int, *_: Any) -> None:
        if self._is_watching and threading.get_ident() == self._thread and "called a synchronizing" in str(message):
            self.places.append(f"{Path(filename).name}:{lineno}")
