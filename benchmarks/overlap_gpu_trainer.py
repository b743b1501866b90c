"""The same as a Trainer does it: `AsyncRehearsalStrategy` against plain training on as many samples."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from statistics import median
from typing import Any

import pytorch_lightning as lightning
import torch
from overlap_gpu_worker import POOL, STORED, Batch, pool, resnet50
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, IterableDataset

from redwood.buffers import AsyncRehearsalStrategy

STEPS, SKIPPED = 45, 15


class Batches(IterableDataset[Batch]):
    """Batches of n samples that are in memory."""

    def __init__(self, samples: Batch, n: int) -> None:
        self.samples, self.n = samples, n

    def __iter__(self) -> Iterator[Batch]:
        """Yield STEPS batches."""
        for step in range(STEPS):
            start = step * self.n % (POOL - self.n)
            yield {name: leaf[start : start + self.n] for name, leaf in self.samples.items()}


class Module(lightning.LightningModule):
    """Trains a network on images of bytes, and takes the time of its steps on the GPU."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)
        self.events: list[torch.cuda.Event] = []

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """The loss of a batch."""
        return cross_entropy(self.network(batch["x"]), batch["y"])

    def on_train_batch_end(self, *_: Any) -> None:
        """Note when the GPU gets here."""
        self.events.append(torch.cuda.Event(enable_timing=True))
        self.events[-1].record()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """SGD."""
        return torch.optim.SGD(self.parameters(), lr=1e-3, momentum=0.9)


def compare(batch: int, rounds: int, build: Callable[[], nn.Module] = resnet50) -> list[dict[str, Any]]:
    """Median step of both, in milliseconds, over `rounds` in which they take turns."""
    replay, samples = batch // 8, pool((3, 224, 224), pinned=torch.cuda.is_available())
    times: dict[str, list[float]] = {"plain b + r": [], "AsyncRehearsalStrategy": []}
    for _ in range(rounds):
        times["plain b + r"] += fit(Module(build()), samples, batch + replay, "auto")
        strategy = AsyncRehearsalStrategy(buffer_size=STORED, replay=replay, candidates=batch // 4)
        times["AsyncRehearsalStrategy"] += fit(Module(build()), samples, batch, strategy)
    ideal = median(times["plain b + r"])
    return [
        {"strategy": name, "b": batch, "r": replay, "step (ms)": median(listed), "/ ideal": median(listed) / ideal}
        for name, listed in times.items()
    ]


def fit(module: Module, samples: Batch, n: int, strategy: Any) -> list[float]:
    """Milliseconds of the steps of a run, but for the first ones."""
    trainer = lightning.Trainer(
        accelerator="auto",
        devices=1,
        strategy=strategy,
        precision="bf16-mixed",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(Batches(samples, n), batch_size=None))
    torch.cuda.synchronize()
    events = module.events[SKIPPED:]
    return [start.elapsed_time(end) for start, end in pairwise(events)]
