"""Two of the presets on MNIST as bare torch loops, without redwood's streams, buffers and training."""

from collections.abc import Callable
from itertools import chain, pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from redwood.settings.data.dataset import Dataset

MEAN, DEVIATION = 0.1307, 0.3081
TASKS, CLASSES = 5, 10


def gdumb(data: Dataset, seed: int) -> float:
    """`gdumb/mnist-4400`: ten passes over 440 images of each class."""
    torch.manual_seed(seed)
    rows = torch.cat([shuffled((data.y == label).nonzero().flatten())[:440] for label in range(CLASSES)])
    network = mlp(784, 400, 400, CLASSES)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(10):
        for batch in shuffled(rows).split(16):
            train(network, optimizer, data, batch)
    return accuracy(network, data)


def rehearsal(data: Dataset, seed: int) -> float:
    """`rehearsal/mnist-online-1000`: one pass, ten images and ten of a memory with equal parts for all classes."""
    torch.manual_seed(seed)
    network = mlp(784, 512, CLASSES, dropout=0.5)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    memory = Memory(1000)
    for task in range(TASKS):
        rows = shuffled((data.y // 2 == task).nonzero().flatten())
        for batch in rows[: int(0.95 * len(rows))].split(10):
            train(network, optimizer, data, torch.cat([batch, memory.draw(10)]))
            for row in batch.tolist():
                memory.add(row, int(data.y[row]))
    return accuracy(network, data)


LOOPS: dict[str, Callable[[Dataset, int], float]] = {
    "gdumb/mnist-4400": gdumb,
    "rehearsal/mnist-online-1000": rehearsal,
}


class Memory:
    """Rows of the training split: a reservoir for each class, all of one size."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.rows: dict[int, list[int]] = {}
        self.seen: dict[int, int] = {}

    def draw(self, n: int) -> Tensor:
        """`n` random rows; none while nothing is stored."""
        stored = torch.tensor(list(chain(*self.rows.values())), dtype=torch.long)
        return stored[torch.randint(len(stored), (n,))] if len(stored) else stored

    def add(self, row: int, label: int) -> None:
        """Offer a row to the reservoir of its class."""
        self.seen[label] = self.seen.get(label, 0) + 1
        own = self.rows.setdefault(label, [])
        quota = self.size // len(self.rows)
        place = int(torch.randint(self.seen[label], (1,)))
        if len(own) < quota:
            own.append(row)
        elif place < quota:
            own[place] = row
        for other in self.rows.values():
            del other[quota:]


def mlp(*widths: int, dropout: float = 0.0) -> nn.Sequential:
    """Linear layers with ReLU and dropout between them."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(widths):
        layers += [nn.Linear(n_in, n_out), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers[:-2])


def train(network: nn.Module, optimizer: torch.optim.Optimizer, data: Dataset, rows: Tensor) -> None:
    """One step on these rows."""
    optimizer.zero_grad()
    F.cross_entropy(network(inputs(data.x[rows])), data.y[rows]).backward()
    optimizer.step()


def inputs(images: Tensor) -> Tensor:
    """Images (B, 1, 28, 28) of bytes as vectors (B, 784)."""
    return (images.flatten(1).float() / 255 - MEAN) / DEVIATION


def shuffled(rows: Tensor) -> Tensor:
    """The rows in random order."""
    return rows[torch.randperm(len(rows))]


@torch.no_grad()
def accuracy(network: nn.Module, data: Dataset) -> float:
    """The mean over the tasks of the accuracy on their test images, in percent."""
    right = (network.eval()(inputs(data.x_test)).argmax(1) == data.y_test).float()
    return 100 * sum(float(right[data.y_test // 2 == task].mean()) for task in range(TASKS)) / TASKS
