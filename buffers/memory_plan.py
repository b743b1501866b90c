"""The choice of a tier for the rows of a buffer, by the memory that a training step leaves free."""

from dataclasses import dataclass
from typing import NamedTuple

import torch

from redwood.buffers.layout import RowLayout
from redwood.core.memory import available_on_host
from redwood.core.user_warnings import warn

# Share of the free memory that rows may take. On the GPU the rest is left to larger batches and to memory in pieces; of
# the host, memory that is pinned is lost to all others.
GPU_SHARE, PINNED_SHARE = 0.75, 0.5


class FreeMemory(NamedTuple):
    """Bytes that are free.

    Attributes:
        gpu: On the GPU, at the moment when training has used the most so far.
        host: On the host, for each of the workers there.
    """

    gpu: int
    host: int


class MemoryPlan(NamedTuple):
    """The tier that was chosen for the rows.

    Attributes:
        tier: `cuda`, `pinned` or `host`: all rows of a worker are on one tier, so that a draw is one gather.
        n_bytes: Bytes of the rows.
        free: What was free.
    """

    tier: str
    n_bytes: int
    free: FreeMemory


def plan_memory(layout: RowLayout, n_rows: int, staged: int, free: FreeMemory) -> MemoryPlan:
    """Choose the fastest tier that all rows of a worker fit on: its GPU, else pinned memory, else plain host memory.

    Args:
        layout: The layout of a row.
        n_rows: Number of rows that the worker stores.
        staged: Further rows on the GPU: to be sent and received.
        free: The memory that is free.

    Examples:
        >>> layout = RowLayout.of({"x": torch.zeros(1, 100)})
        >>> plan_memory(layout, 1500, 50, FreeMemory(gpu=10**6, host=10**7)).tier
        'cuda'
        >>> plan_memory(layout, 2000, 50, FreeMemory(gpu=10**6, host=10**7)).tier
        'pinned'
    """
    n_bytes = n_rows * layout.stride
    if n_bytes + staged * layout.stride <= GPU_SHARE * free.gpu:
        tier = "cuda"
    else:
        tier = "pinned" if n_bytes <= PINNED_SHARE * free.host else "host"
    return MemoryPlan(tier, n_bytes, free)


def free_memory(device: torch.device) -> FreeMemory:
    """Return the free memory of a GPU, and that of the host for each worker: a machine has one worker per GPU."""
    free, _ = torch.cuda.mem_get_info(device)
    # What torch has taken is free for the rows, but for the most that it has given out at one time.
    cached = torch.cuda.memory_reserved(device) - torch.cuda.max_memory_allocated(device)
    return FreeMemory(free + cached, available_on_host() // max(1, torch.cuda.device_count()))


@dataclass
class AutomaticTier:
    """Chooses the tier of the rows of one buffer; says once if they do not go to the GPU.

    Before a full step nobody knows how much memory training needs: rows that are allocated before lie on the host.

    Attributes:
        device: The GPU that training is on.
        staged: See `plan_memory`.
        is_settled: Whether there has been a full step.
    """

    device: torch.device
    staged: int
    is_settled: bool = False
    has_warned: bool = False

    def told_of_no_room(self, n_bytes: int) -> None:
        """Say that training needs the memory of rows of so many bytes."""
        warn(
            f"Training ran out of memory on {self.device}: the {n_bytes:,} bytes of stored rows move to the host, and "
            "the step is done again; store fewer samples to keep them on the GPU."
        )

    def __call__(self, layout: RowLayout, n_rows: int) -> str:
        """The tier of `n_rows` rows of a layout."""
        if not self.is_settled:
            return "host"
        plan = plan_memory(layout, n_rows, self.staged, free_memory(self.device))
        if plan.tier != "cuda" and not self.has_warned:
            self.has_warned = True
            warn(
                f"{n_rows:,} rows take {plan.n_bytes:,} bytes, more than {GPU_SHARE:.0%} of the {plan.free.gpu:,} "
                f"bytes that a step leaves free on {self.device}: they are kept on the tier {plan.tier}, which is "
                "slower; store fewer samples to keep them on the GPU."
            )
        return plan.tier
