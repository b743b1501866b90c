"""Asynchronous distributed rehearsal for a LightningModule that knows nothing of it; nothing else of redwood is used.

One process: `python examples/async_rehearsal.py`; two: `torchrun --nproc-per-node 2 examples/async_rehearsal.py`.
"""

import logging
import os

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.strategies import Strategy
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from redwood.buffers import AsyncRehearsalStrategy


class Classifier(LightningModule):
    """A network for ten classes."""

    def __init__(self) -> None:
        super().__init__()
        self.network = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """The mean loss of whatever batch comes: with rehearsal, it is longer."""
        x, y = batch
        return cross_entropy(self.network(x), y)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain stochastic gradient descent."""
        return torch.optim.SGD(self.parameters(), lr=0.1)


def digits() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The images (n, 64) and labels (n,) of scikit-learn's digits, for training and for the test."""
    x, y = (torch.from_numpy(array) for array in load_digits(return_X_y=True))
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    x, y = x[order].float() / 16, y[order]
    return (x[400:], y[400:]), (x[:400], y[:400])


def train(x: Tensor, y: Tensor, rehearse: bool, passes: int = 8) -> tuple[Classifier, bool]:
    """Train on five tasks of two digits each, one `fit` after the other."""
    torch.manual_seed(0)
    module, memory = Classifier(), None
    for task in range(5):
        strategy: str | Strategy = "auto"
        if rehearse:  # the buffer goes on from task to task
            strategy = AsyncRehearsalStrategy(buffer_size=200, replay=16, buffer=memory)
            memory = strategy.memory
        chosen = y // 2 == task
        loader = DataLoader(TensorDataset(x[chosen], y[chosen]), batch_size=16, shuffle=True)
        trainer = Trainer(
            strategy=strategy,
            max_epochs=passes,
            accelerator="cpu",
            devices=int(os.environ.get("LOCAL_WORLD_SIZE", "1")),  # as many as torchrun has started here
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, loader)
    return module, trainer.is_global_zero


def main() -> dict[str, float]:
    """Print the accuracy over all classes without rehearsal and with it, and return both."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    (x, y), (x_test, y_test) = digits()
    accuracies = {}
    for name, rehearse in (("without rehearsal", False), ("with rehearsal", True)):
        module, is_first = train(x, y, rehearse)
        with torch.no_grad():
            accuracies[name] = (module.network(x_test).argmax(1) == y_test).float().mean().item()
        if is_first:
            print(f"accuracy over all classes {name}: {accuracies[name]:.2f}")
    return accuracies


if __name__ == "__main__":
    main()
