"""The choice of a tier for the rows of a buffer, by free memory; it is reserved before any training step."""

import warnings
from dataclasses import dataclass
from typing import NamedTuple

import torch

from redwood.buffers.layout import RowLayout
from redwood.core.memory import available_on_host

# Share of the free memory that rows may take. On the GPU the rest is left to activations, gradients and the state of
# the optimizer, which are not there yet; of the host, memory that is pinned is lost to all others.
GPU_SHARE, PINNED_SHARE = 0.5, 0.5


class FreeMemory(NamedTuple):
    """Bytes that are free.

    Attributes:
        gpu: On the GPU, including what torch has taken but not given out.
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
        >>> plan_memory(layout, 1000, 50, FreeMemory(gpu=10**6, host=10**7)).tier
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
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return FreeMemory(free + cached, available_on_host() // max(1, torch.cuda.device_count()))


@dataclass
class AutomaticTier:
    """Chooses the tier of the rows of one buffer as they are allocated; says once if they do not go to the GPU.

    Attributes:
        device: The GPU that training is on.
        staged: See `plan_memory`.
    """

    device: torch.device
    staged: int
    has_warned: bool = False

    def __call__(self, layout: RowLayout, n_rows: int) -> str:
        """The tier of `n_rows` rows of a layout."""
        plan = plan_memory(layout, n_rows, self.staged, free_memory(self.device))
        if plan.tier != "cuda" and not self.has_warned:
            self.has_warned = True
            warnings.warn(
                f"{n_rows:,} rows take {plan.n_bytes:,} bytes, more than {GPU_SHARE:.0%} of the {plan.free.gpu:,} "
                f"bytes free on {self.device}: they are kept on the tier {plan.tier}, which is slower. Store fewer "
                "samples, or choose tier='cuda' if training leaves them more room.",
                stacklevel=2,
            )
        return plan.tier
