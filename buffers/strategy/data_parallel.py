"""The workers that train on different samples: all of them, or those of one dimension of a device mesh."""

import torch
from pytorch_lightning.strategies import ModelParallelStrategy, Strategy
from torch.distributed import ProcessGroup

from redwood.buffers.distributed.peers import nccl_group


def data_parallel_group(strategy: Strategy) -> ProcessGroup | None:
    """The workers that share this worker's place in its replica; None if every worker is a replica of its own."""
    return strategy.device_mesh.get_group("data_parallel") if isinstance(strategy, ModelParallelStrategy) else None


def rows_group(group: ProcessGroup | None, device: torch.device) -> ProcessGroup | None:
    """The group in which the workers of a group (None: all) exchange rows by NCCL; None if they use the host."""
    everyone = nccl_group(device)
    return everyone if group is None or everyone is None else group
