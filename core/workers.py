"""The worker processes of a data-parallel run, and sums and lists over all of them."""

import os
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import ProcessGroup

Value = TypeVar("Value")

# The default time to wait for other workers: torch's own default is half an hour for gloo.
TIMEOUT = timedelta(minutes=5)
# The least time to wait for a worker that saves or loads: one writes the weights, or reads rows that others have.
SAVING_TIMEOUT = timedelta(minutes=30)


def raise_after_timeout() -> None:
    """Have a collective of NCCL that takes too long raise an error, in groups made from now on.

    By default torch ends the process then, with SIGABRT and without a sentence. Other values that the user has set
    stay. A user's own 1 cannot be told from that of torchrun, which sets it for all workers.
    """
    if os.environ.get("TORCH_NCCL_ASYNC_ERROR_HANDLING", "1") == "1":
        os.environ["TORCH_NCCL_ASYNC_ERROR_HANDLING"] = "2"  # CleanUpOnly: abort the communicator alone


def _together() -> bool:
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Number of this worker, from 0."""
    return dist.get_rank() if _together() else 0


def world_size() -> int:
    """Number of workers that run together."""
    return dist.get_world_size() if _together() else 1


def split_evenly(n_samples: int, part: int, parts: int) -> slice:
    """The `part`-th of `parts` contiguous, nearly equal pieces of a sequence."""
    return slice(n_samples * part // parts, n_samples * (part + 1) // parts)


def sum_over_workers(tensor: Tensor) -> Tensor:
    """The elementwise sum of the workers' CPU tensors. Every worker has to call this function."""
    if world_size() == 1:
        return tensor
    device = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else tensor.device
    total = tensor.to(device, copy=True)
    dist.all_reduce(total)
    return total.to(tensor.device)


def gather_objects(value: Value, group: ProcessGroup | None = None) -> list[Value]:
    """The value of each worker of a group (None: all), in the order of their ranks. All have to call it."""
    n = dist.get_world_size(group) if _together() else 1
    values = [value] * n
    if n > 1:
        dist.all_gather_object(values, value, group=group)
    return values
