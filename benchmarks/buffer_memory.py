"""Does a buffer take the memory that it declares, and no more as it is used?"""

from typing import Any

import torch
from common import resident_bytes

from redwood.buffers import POLICIES, SAMPLERS, RehearsalBuffer

SIZE, BATCH, CAPACITY = 2**29, 1024, 500
# Steps before memory counts as settled, and all of them.
SETTLED, STEPS = 1000, 100_000
# What a row takes beside the row itself, on the host.
BESIDE = 16


def compare_declared() -> list[dict[str, Any]]:
    """Growth of the process by a buffer that is filled, against the bytes that it declares."""
    rows = []
    samples = {"x": torch.zeros(BATCH, 3, 32, 32, dtype=torch.uint8), "y": torch.arange(BATCH)}
    RehearsalBuffer(BATCH).add(samples)  # what is loaded at first use is no memory of the buffer's
    for tier in ("host", "mmap"):
        before = resident_bytes()
        buffer = RehearsalBuffer(n_bytes=SIZE, tier=tier)
        buffer.add(samples)
        while len(buffer) < buffer.capacity:
            buffer.add(samples)
        grown, declared = resident_bytes() - before, buffer.nbytes + BESIDE * buffer.capacity
        rows.append(
            {"tier": tier, "declared (MiB)": declared / 2**20, "resident (MiB)": grown / 2**20}
            | {"resident / declared": grown / declared}
        )
        del buffer
    return rows


def compare_growth() -> list[dict[str, Any]]:
    """Growth of the process by steps that each add 32 samples and draw 32."""
    random = torch.Generator().manual_seed(0)
    batches = [
        {"x": torch.rand(32, 1, 28, 28, generator=random), "y": torch.randint(0, 10, (32,), generator=random)}
        for _ in range(100)
    ]
    rows = []
    for policy, sampler in (("reservoir", "uniform"), ("class_balanced", "class_balanced")):
        buffer = RehearsalBuffer(CAPACITY, policy=POLICIES[policy](), sampler=SAMPLERS[sampler]())
        settled = 0
        for step in range(STEPS):
            if step == SETTLED:
                settled = resident_bytes()
            buffer.add(batches[step % len(batches)])
            buffer.sample(32)
        rows.append(
            {"policy": policy, "sampler": sampler, "steps": STEPS}
            | {f"growth after step {SETTLED} (MiB)": (resident_bytes() - settled) / 2**20}
        )
    return rows
