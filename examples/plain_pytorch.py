"""The rehearsal buffer in a training loop of your own: torch, and nothing else of redwood."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer

from redwood.buffers import ClassBalancedReservoir, RehearsalBuffer

Stream = Iterable[tuple[Tensor, Tensor]]  # batches: samples (B, ...) and labels (B,)


def train(network: nn.Module, optimizer: Optimizer, stream: Stream, capacity: int = 500) -> RehearsalBuffer:
    """Train on each batch of `stream` together with as many old samples."""
    buffer = RehearsalBuffer(capacity, policy=ClassBalancedReservoir())
    for x, y in stream:
        batch = {"x": x, "y": y}
        if len(buffer):
            old = buffer.sample(len(y))
            batch = {name: torch.cat([new, old[name]]) for name, new in batch.items()}
        optimizer.zero_grad()
        cross_entropy(network(batch["x"].float()), batch["y"]).backward()
        optimizer.step()
        buffer.add({"x": x, "y": y})
    return buffer


if __name__ == "__main__":
    torch.manual_seed(0)
    centers = torch.randn(10, 20)
    stream = [(centers[c] + torch.randn(32, 20), torch.full((32,), c)) for c in range(10) for _ in range(30)]
    network = torch.nn.Linear(20, 10)
    buffer = train(network, torch.optim.SGD(network.parameters(), lr=0.1), stream, capacity=100)
    x, y = torch.cat([x for x, _ in stream]), torch.cat([y for _, y in stream])
    print(buffer.class_counts())
    print(f"accuracy on all classes: {(network(x).argmax(1) == y).float().mean():.2f}")
