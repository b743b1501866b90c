"""Buffers of other libraries, which are measured if they are installed: torchrl's storages, Avalanche's policies."""

import logging
from collections.abc import Iterator
from importlib.metadata import version as installed_version
from typing import Any

import avalanche_runs
import torch
from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler

Samples = dict[str, Tensor]
POLICIES = ("ReservoirSamplingBuffer", "ClassBalancedBuffer")


def avalanche_version() -> str | None:
    """The installed version of Avalanche, or None if it cannot be imported."""
    return avalanche_runs.version()


def torchrl_version() -> str | None:
    """The installed version of torchrl, or None if it cannot be imported."""
    try:
        import torchrl.data  # type: ignore[import-not-found]  # noqa: F401
    except ImportError:
        return None
    # It reports each storage that it allocates.
    logging.getLogger("torchrl").setLevel(logging.WARNING)
    return installed_version("torchrl")


def torchrl_samples(samples: Samples) -> Any:
    """The samples as torchrl wants them."""
    from tensordict import TensorDict  # type: ignore[import-not-found]

    return TensorDict(samples, [len(samples["y"])])


def torchrl_storage(capacity: int, samples: Samples, tier: str, directory: str) -> Any:
    """A storage that is full.

    Args:
        capacity: Number of slots.
        samples: What to fill it with, again and again, (B, ...).
        tier: As for redwood: `host`, `cuda` or `mmap`.
        directory: Where the files of `mmap` go.
    """
    from torchrl.data import LazyMemmapStorage, LazyTensorStorage

    if tier == "mmap":
        storage = LazyMemmapStorage(capacity, scratch_dir=directory)
    else:
        storage = LazyTensorStorage(capacity, device="cuda" if tier == "cuda" else "cpu")
    wrapped = torchrl_samples(samples)
    for slots in torch.arange(capacity).split(len(samples["y"])):
        storage.set(slots, wrapped[: len(slots)])
    return storage


def torchrl_buffer(capacity: int, batch_size: int) -> Any:
    """An empty buffer that keeps the latest samples and draws uniformly."""
    from torchrl.data import LazyTensorStorage, ReplayBuffer

    return ReplayBuffer(storage=LazyTensorStorage(capacity), batch_size=batch_size)


def avalanche_dataset(samples: Samples) -> Any:
    """The samples as Avalanche wants them."""
    from avalanche.benchmarks.utils import _make_taskaware_classification_dataset

    labelled = avalanche_runs.Labelled(samples["x"], samples["y"])
    return _make_taskaware_classification_dataset(labelled, task_labels=0)  # type: ignore[arg-type]


def avalanche_buffer(name: str, capacity: int) -> Any:
    """An empty buffer, by the name of its class in `POLICIES`."""
    from avalanche.training import storage_policy

    return getattr(storage_policy, name)(capacity)


def avalanche_draws(buffer: Any, batch_size: int, n: int) -> Iterator[Any]:
    """Draw `n` batches as Avalanche does, with a loader over the buffer's dataset."""
    data = buffer.buffer
    sampler = RandomSampler(data, replacement=True, num_samples=n * batch_size)
    return iter(DataLoader(data, batch_size, sampler=sampler, collate_fn=data.collate_fn))
