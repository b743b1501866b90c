"""Modules whose weights are sharded over workers, and strategies that train them on CPUs."""

from typing import Any

import torch
import torch.distributed as dist
from pytorch_lightning.strategies import FSDPStrategy, ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

from redwood.buffers.strategy.strategy import AsyncRehearsalFSDPStrategy, AsyncRehearsalModelParallelStrategy
from tests.buffers.strategy.plain_modules import Stranger, rank


class Sharded(Stranger):
    """Is sharded as the device mesh of `ModelParallelStrategy` says; notes whole weights and gradients.

    Attributes:
        before: The weights that `training_step` found, call by call.
        gradients: Their gradients.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.before: list[list[Tensor]] = []
        self.gradients: list[list[Tensor]] = []

    def configure_model(self) -> None:
        strategy = self.trainer.strategy
        if not isinstance(strategy, ModelParallelStrategy) or is_sharded(self.net):
            return
        mesh = strategy.device_mesh
        if mesh["tensor_parallel"].size() > 1:
            plan = {"0": ColwiseParallel(), "2": RowwiseParallel()}
            parallelize_module(self.net, mesh["tensor_parallel"], plan)
        fully_shard(self.net, mesh=mesh["data_parallel"])

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_start(batch, batch_idx)
        self.before.append(self.weights)

    def on_after_backward(self) -> None:
        self.gradients.append([whole(parameter.grad) for parameter in self.parameters() if parameter.grad is not None])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)

    @property
    def weights(self) -> list[Tensor]:
        return whole_weights(self)


class PlainFSDP(FSDPStrategy):
    """Lightning's strategy on the CPU, which it does not name to the wrapper of a module."""

    def _setup_model(self, model: nn.Module) -> nn.Module:
        return FullyShardedDataParallel(model, device_id=torch.device("cpu"), use_orig_params=True)


class RehearsingFSDP(AsyncRehearsalFSDPStrategy):
    """The one that rehearses, likewise."""

    def _setup_model(self, model: nn.Module) -> nn.Module:
        return PlainFSDP._setup_model(self, model)  # type: ignore[arg-type]


def fully_sharded(**options: Any) -> RehearsingFSDP:
    """A strategy of as many replicas as there are workers."""
    return RehearsingFSDP(**{"buffer_size": 30, "replay": 3, **options})


def model_parallel(**options: Any) -> AsyncRehearsalModelParallelStrategy:
    """A strategy of two replicas, by default of one worker each."""
    sizes = {"data_parallel_size": 2, "tensor_parallel_size": 1}
    return AsyncRehearsalModelParallelStrategy(**{"buffer_size": 30, "replay": 3, **sizes, **options})


def replica(replicas: int) -> int:
    """The number of this worker's replica, whose workers are neighbours."""
    return rank() * replicas // dist.get_world_size()


def is_sharded(module: nn.Module) -> bool:
    parts = any(isinstance(parameter, DTensor) for parameter in module.parameters())
    return parts or isinstance(module, FullyShardedDataParallel)


def whole(tensor: Tensor) -> Tensor:
    """A copy of all of a tensor, of which each worker has a part."""
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().clone()


def whole_weights(module: nn.Module) -> list[Tensor]:
    """Copies of all weights of a module; all workers have to call this."""
    if not isinstance(module, FullyShardedDataParallel):
        return [whole(parameter) for parameter in module.parameters()]
    with FullyShardedDataParallel.summon_full_params(module):
        return [parameter.detach().clone() for parameter in module.parameters()]
