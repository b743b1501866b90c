"""Asynchronous rehearsal in the workers that Ray Train starts on the machines of a cluster.

On this machine: `python examples/ray_train.py` (pip install "ray[train]"); on a cluster, `RAY_ADDRESS` names it.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from ray import train
from ray.train import ScalingConfig
from ray.train.lightning import RayDDPStrategy, RayLightningEnvironment
from ray.train.torch import TorchTrainer
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from redwood.buffers import AsyncRehearsalStrategy


class RehearsalOnRay(AsyncRehearsalStrategy, RayDDPStrategy):
    """The strategy, on the device that Ray gives to each worker."""


class Classifier(LightningModule):
    """A network for ten classes, which notes how many samples each step has."""

    def __init__(self) -> None:
        super().__init__()
        self.network = torch.nn.Linear(8, 10)
        self.sizes: list[int] = []

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """The mean loss of incoming and replayed samples."""
        x, y = batch
        self.sizes.append(len(x))
        return cross_entropy(self.network(x), y)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain stochastic gradient descent."""
        return torch.optim.SGD(self.parameters(), lr=0.1)


def train_one_worker(config: dict[str, Any]) -> None:
    """What each worker does; Ray has made their process group."""
    torch.manual_seed(train.get_context().get_world_rank())
    samples = TensorDataset(torch.randn(64, 8), torch.arange(64) % 10)
    module = Classifier()
    trainer = Trainer(
        strategy=RehearsalOnRay(buffer_size=100, replay=4),
        plugins=[RayLightningEnvironment()],
        max_epochs=1,
        accelerator="auto" if config["use_gpu"] else "cpu",
        devices="auto" if config["use_gpu"] else 1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    trainer.fit(module, DataLoader(samples, batch_size=8))
    if trainer.is_global_zero:
        found = {"workers": trainer.world_size, "samples of each step": module.sizes}
        Path(config["folder"], "found.json").write_text(json.dumps(found))


def main(folder: str, use_gpu: bool = False) -> str:
    """Train with two workers; the folder is seen by all machines. Return what the first worker has written there."""
    scaling = ScalingConfig(num_workers=2, use_gpu=use_gpu)
    config = {"folder": folder, "use_gpu": use_gpu}
    where = train.RunConfig(storage_path=folder)
    TorchTrainer(train_one_worker, train_loop_config=config, scaling_config=scaling, run_config=where).fit()
    return Path(folder, "found.json").read_text()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        print(main(temporary))
