"""Loops of `lightning.Fabric`: the buffer takes part by `rehearse` and `weight`."""

import threading
from typing import Any, NamedTuple
from unittest import mock

import pytest
import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy, ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed import DeviceMesh, ProcessGroup
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.functional import cross_entropy

from redwood.buffers import AsyncRehearsalBuffer, BufferInputError, RehearsalBuffer
from tests.buffers.distributed.gpu_lives import joined_by_nothing
from tests.buffers.helpers import features_of
from tests.workers import TwoWorkers

SIZES = [[4, 2, 4, 3], [1, 4, 4, 4]]


class Run(NamedTuple):
    """What a worker trained on step by step, and the weights in the end."""

    trained: list[list[int]]
    weights: list[Tensor]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


def sharded(module: nn.Module, mesh: DeviceMesh) -> nn.Module:
    return fully_shard(module, mesh=mesh["data_parallel"])


def group_of(strategy: Any) -> ProcessGroup | None:
    """The workers that train on different samples."""
    return strategy.device_mesh.get_group("data_parallel") if isinstance(strategy, ModelParallelStrategy) else None


def trained(kind: str) -> Run:
    """Train on the batches of this worker."""
    rank, world = dist.get_rank(), dist.get_world_size()
    strategy = DDPStrategy() if kind == "ddp" else ModelParallelStrategy(sharded, world, 1)
    fabric = Fabric(accelerator="cpu", devices=world, strategy=strategy)
    fabric.launch()
    model: Any = fabric.setup_module(network())
    optimizer: Any = fabric.setup_optimizers(torch.optim.SGD(model.parameters(), lr=0.1))
    memory = AsyncRehearsalBuffer(30, replay=3)
    memory.open(group_of(fabric.strategy), device=fabric.device)
    seen, start = [], 100 * rank
    for size in SIZES[rank]:
        ids = torch.arange(start, start + size)
        batch = memory.rehearse({"id": ids, "x": features_of(ids), "y": ids % 3})
        assert torch.equal(batch["x"], features_of(batch["id"]))
        loss = cross_entropy(model(batch["x"]), batch["y"])
        fabric.backward(loss * memory.weight())
        optimizer.step()
        optimizer.zero_grad()
        seen.append(batch["id"].tolist())
        start += size
    memory.close()
    assert any(isinstance(parameter, DTensor) for parameter in model.parameters()) == (kind != "ddp")
    return Run(seen, [p.full_tensor() if isinstance(p, DTensor) else p.detach() for p in model.parameters()])


def alone(steps: list[list[int]]) -> list[Tensor]:
    """The weights after training one process on these samples."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for numbers in steps:
        ids = torch.tensor(numbers)
        optimizer.zero_grad()
        cross_entropy(model(features_of(ids)), ids % 3).backward()
        optimizer.step()
    return [parameter.detach() for parameter in model.parameters()]


@pytest.mark.parametrize("kind", ["ddp", "model_parallel"])
def test_trains_on_the_samples_of_all_workers(two_workers: TwoWorkers, kind: str) -> None:
    runs: list[Run] = two_workers.run(trained, kind)
    wanted = alone([one + other for one, other in zip(*(run.trained for run in runs), strict=True)])
    for run, sizes in zip(runs, SIZES, strict=True):
        assert [len(ids) for ids in run.trained] == [sizes[0], *(size + 3 for size in sizes[1:])]
        assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in zip(run.weights, wanted, strict=True))


def test_samples_that_cannot_be_joined() -> None:
    memory = AsyncRehearsalBuffer(30, replay=3)
    memory.open()
    memory.rehearse({"x": torch.zeros(4, 2)})
    with pytest.raises(BufferInputError, match=r"Leaf x of the incoming samples is \(3,\) .* the replayed ones \(2,\)"):
        memory.rehearse({"x": torch.zeros(4, 3)})
    memory.abort()


def test_the_batch_may_be_changed_in_place() -> None:
    """Nothing is replayed in the first step, and the background stores the samples once the batch has been changed."""
    changed, write = threading.Event(), RehearsalBuffer.write

    def late_write(*args: Any) -> None:
        assert changed.wait(10)
        write(*args)

    with joined_by_nothing(2), mock.patch.object(RehearsalBuffer, "write", late_write):
        memory = AsyncRehearsalBuffer(8, replay=2)
        memory.open()
        samples = {"x": torch.arange(4.0), "y": torch.arange(4)}
        batch = memory.rehearse(samples)
        assert all(torch.equal(batch[name], leaf) for name, leaf in samples.items())
        batch["x"].zero_()
        changed.set()
        memory.close()
    assert torch.equal(memory.buffer.all()["x"], torch.arange(4.0))


@pytest.mark.parametrize("ends_by", ["collect", "close"])
def test_added_samples_that_are_changed_too_early(ends_by: str) -> None:
    with joined_by_nothing(2):
        memory = AsyncRehearsalBuffer(8, replay=2)
        memory.open()
        samples = {"x": torch.arange(4.0), "y": torch.arange(4)}
        memory.add(samples)
        samples["x"][1:].zero_()
        with pytest.raises(
            BufferInputError, match=r"^Leaf x of the incoming samples was changed in place while .* copy"
        ):
            getattr(memory, ends_by)()
        memory.abort()
        memory.reset()
        memory.open()
        memory.add(samples)
        memory.collect()
        samples["x"].add_(1)  # it is stored by now
        memory.close()
    assert memory.buffer.all()["x"].tolist() == 4 * [0.0]


def test_samples_may_be_changed_where_they_are_stored_at_once() -> None:
    memory = AsyncRehearsalBuffer(8, replay=2)
    memory.open()
    samples = {"x": torch.arange(4.0)}
    memory.add(samples)
    samples["x"].zero_()
    memory.close()
    assert torch.equal(memory.buffer.all()["x"], torch.arange(4.0))
