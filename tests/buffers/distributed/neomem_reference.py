"""A negative control: how the reference implementation draws from all workers, with its faults (section 1.3)."""

import torch
from torch import Tensor

from tests.buffers.distributed.checks import Draws

MODULUS, FACTOR = 2**31 - 1, 16807


class Minstd:
    """`std::default_random_engine` with `std::uniform_int_distribution`, as the GNU library has them."""

    def __init__(self, seed: int) -> None:
        self._state = seed % MODULUS or 1

    def below(self, n: int) -> int:
        scale = (MODULUS - 2) // n
        while True:
            self._state = self._state * FACTOR % MODULUS
            if self._state - 1 < n * scale:
                return (self._state - 1) // scale


def folded(owners: Tensor, labels: Tensor, n_classes: int, quota: int, r: int, n_steps: int, seed: int = 1) -> Draws:
    """Draws (N, T, r) of all workers.

    Each draws distinct numbers over the slots that `n_classes` of `quota` samples would take on all workers. The worker
    that a number falls on takes class and sample modulo what it stores. The list of drawn numbers starts as zeros and
    is searched whole, which is why 0 counts as drawn. The generators are seeded with consecutive numbers.

    Args:
        owners: The worker that stores each sample (M,).
        labels: The class of each sample (M,).
        n_classes: Classes that there will be.
        quota: Samples of each class that a worker has room for.
        r: Samples in each draw.
        n_steps: Number T of draws of each worker.
        seed: Seed of the first worker.
    """
    world, n_slots = int(owners.max()) + 1, n_classes * quota
    stored: list[list[list[int]]] = []
    for rank in range(world):
        classes = labels[owners == rank].unique().tolist()
        stored.append([((owners == rank) & (labels == name)).nonzero()[:, 0].tolist() for name in classes])

    def draw(engine: Minstd) -> list[int]:
        numbers = [0] * r
        for i in range(r):
            while (number := engine.below(world * n_slots)) in numbers:
                pass
            numbers[i] = number
        chosen = []
        for number in numbers:
            rank, slot = divmod(number, n_slots)
            rows = stored[rank][(slot // quota) % len(stored[rank])]
            chosen.append(rows[(slot % quota) % len(rows)])
        return chosen

    engines = [Minstd(seed + rank) for rank in range(world)]
    return Draws(torch.tensor([[draw(engine) for _ in range(n_steps)] for engine in engines]), owners, labels)
