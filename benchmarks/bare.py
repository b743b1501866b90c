"""The loops one would write by hand: what redwood's training steps are compared with."""

import torch
from common import Seconds
from torch import Tensor, nn
from torch.nn import functional as F

from redwood.buffers import RehearsalBuffer

LR = 0.05


class TensorReservoir:
    """Algorithm R (Vitter 1985) on two tensors, as short as it can be written without a loop over samples."""

    def __init__(self, capacity: int, x: Tensor, y: Tensor) -> None:
        """Allocate `capacity` rows shaped like those of `x` (N, ...) and `y` (N,)."""
        self.x, self.y = torch.empty_like(x[:capacity]), torch.empty_like(y[:capacity])
        self.capacity, self.seen = capacity, 0

    def __len__(self) -> int:
        """Number of samples stored."""
        return min(self.seen, self.capacity)

    def add(self, samples: dict[str, Tensor]) -> None:
        """Offer a batch x (B, ...), y (B,); where two samples fall on one slot either may stay."""
        x, y = samples["x"], samples["y"]
        slots = torch.arange(self.seen, self.seen + len(y))
        drawn = (torch.rand(len(y)) * (slots + 1)).long()
        slots = torch.where(slots < self.capacity, slots, drawn)
        keep = (slots < self.capacity).nonzero().view(-1)
        if len(keep):
            self.x[slots[keep]] = x[keep]
            self.y[slots[keep]] = y[keep]
        self.seen += len(y)

    def sample(self, n: int) -> dict[str, Tensor]:
        """Draw at most `n` stored samples without replacement."""
        index = torch.randperm(len(self))[:n]
        return {"x": self.x[index], "y": self.y[index]}


def train(
    network: nn.Module,
    tasks: list[tuple[Tensor, Tensor]],
    batch_size: int,
    *,
    memory: RehearsalBuffer | TensorReservoir | None = None,
    count_online: bool = False,
    predict_first: bool = False,
    stamps: list[Seconds] | None = None,
) -> Tensor | None:
    """Train one pass over the tasks with SGD, replaying as many samples of `memory` as come in.

    Args:
        network: Maps samples in storage dtype to scores.
        tasks: Samples (N, ...) and labels (N,) of each task; batches are indexed from these tensors.
        batch_size: Samples per batch.
        memory: Where to draw from before, and to put each batch after, the step's draw; None: nothing is replayed.
        count_online: Whether to count the incoming samples that are predicted right before they are learned from.
        predict_first: Whether to predict the incoming samples by a forward pass in evaluation mode, before learning.
        stamps: Takes the moment at which each step begins, if given.

    Returns:
        The right predictions of each step (steps,), if counted.
    """
    optimizer = torch.optim.SGD(network.parameters(), lr=LR)
    hits = torch.zeros(sum(-(-len(y) // batch_size) for _, y in tasks), dtype=torch.int32)
    step = 0
    for task_x, task_y in tasks:
        for index in torch.randperm(len(task_y)).split(batch_size):
            if stamps is not None:
                stamps.append(Seconds.now())
            x, y = task_x[index], task_y[index]
            new_x, new_y = x, y
            if memory is not None:
                if len(memory):
                    drawn = memory.sample(batch_size)
                    x, y = torch.cat([x, drawn["x"]]), torch.cat([y, drawn["y"]])
                memory.add({"x": new_x, "y": new_y})
            if predict_first:
                network.eval()
                with torch.no_grad():
                    hits[step] = (network(new_x).argmax(1) == new_y).sum()
                network.train()
            scores = network(x)
            if count_online:
                with torch.no_grad():
                    hits[step] = (scores[: len(new_y)].argmax(1) == new_y).sum()
            optimizer.zero_grad()
            F.cross_entropy(scores, y).backward()
            optimizer.step()
            step += 1
    return hits if count_online or predict_first else None
