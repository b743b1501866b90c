"""GRASP: typical rows of each class first, hard rows later."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

import torch
from torch import Tensor
from torch.nn.functional import normalize
from typing_extensions import override

from redwood.buffers.randomness import choose, integers
from redwood.buffers.samplers.balanced import ClassBalanced
from redwood.buffers.samplers.base import Rate
from redwood.buffers.samplers.counts import water_fill
from redwood.core.state import State


class Grasp(ClassBalanced):
    """Draw class by class, near its mean first (GRASP: Harun et al., 2024).

    d is the cosine distance of a row's latest features to the mean of its class. A row is drawn in proportion to
    1 / (d + 1e-7). Once it is drawn, the largest distance of the class is added to d, so that no row that was
    not drawn yet is less likely. `refresh` measures all distances again; rows stored later start with d = 0.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"labels", "features"})
    shared: ClassVar[bool] = False  # only the worker that stores a row knows its distance

    @override
    def bind(self, seed: int) -> None:
        super().bind(seed)
        self.distances = torch.zeros(0, dtype=torch.float64)

    @override
    def on_stored(self, slots: Tensor, labels: Tensor | None, tasks: Tensor | None) -> None:
        super().on_stored(slots, labels, tasks)
        missing = self.groups.total - len(self.distances)
        self.distances = torch.cat([self.distances, torch.zeros(missing, dtype=torch.float64)])
        self.distances[slots] = 0

    @override
    def refresh(self, features: Tensor) -> None:
        unit = normalize(features.double(), dim=1)
        self.distances = torch.zeros(len(features), dtype=torch.float64)
        for group in self.groups.sizes():
            slots = self.groups.slots(group)
            mean = normalize(unit[slots].mean(0), dim=0)
            self.distances[slots] = 1 - unit[slots] @ mean

    @override
    def draw(self, n: int, step: int, size: int, rate: Rate | None = None) -> Tensor:
        """Equally many rows of each class, as far as it has them, without replacement."""
        n, sizes = min(n, size), self.groups.sizes()
        draws = self.random.uniforms(step, n + len(sizes))
        chosen: list[int] = []
        for group, share in water_fill(sizes, n, choose(sorted(sizes), draws[n:])).items():
            slots = self.groups.slots(group)
            distances = self.distances[slots]
            weights = 1 / (distances.clamp(min=0) + 1e-7)
            for _ in range(share):
                sums = weights.cumsum(0)
                pick = int(torch.searchsorted(sums, draws[len(chosen)] * float(sums[-1]), right=True))
                pick = min(pick, len(slots) - 1)
                chosen.append(int(slots[pick]))
                distances[pick] += distances.max()
                weights[pick] = 0
            self.distances[slots] = distances
        return integers(chosen)

    @override
    def slot_metadata(self) -> dict[str, Tensor]:
        return super().slot_metadata() | {"distances": self.distances.clone()}

    @override
    def resume(self, slots: Tensor, metadata: Mapping[str, Tensor], others: Sequence[Self]) -> None:
        """Distances of other workers stay valid until the next `refresh`."""
        super().resume(slots, metadata, others)
        self.distances[slots] = metadata["distances"]

    @override
    def state_dict(self) -> State:
        return super().state_dict() | {"distances": self.distances.clone()}

    @override
    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        self.distances = state["distances"].clone()
