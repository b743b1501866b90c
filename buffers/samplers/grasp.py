"""From easy to hard: typical rows first."""

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

    A row's distance d to the mean of its class (cosine, of the features told last) makes it likely to be drawn in
    proportion to 1 / (d + 1e-7). Once drawn, the largest distance of the class is added to its own, so that it is not
    likelier than any row that was not drawn yet. New features start this anew; rows that came after them count as
    typical (d = 0).
    """

    needs: ClassVar[frozenset[str]] = frozenset({"labels", "features"})
    shared: ClassVar[bool] = False  # distances are known to the worker that stores the rows

    @override
    def bind(self, seed: int) -> None:
        super().bind(seed)
        self.distances = torch.zeros(0, dtype=torch.float64)

    @override
    def on_stored(self, slots: Tensor, labels: Tensor | None, tasks: Tensor | None) -> None:
        """New rows are at distance 0."""
        super().on_stored(slots, labels, tasks)
        missing = self.groups.total - len(self.distances)
        self.distances = torch.cat([self.distances, torch.zeros(missing, dtype=torch.float64)])
        self.distances[slots] = 0

    @override
    def refresh(self, features: Tensor) -> None:
        """Measure all distances anew."""
        unit = normalize(features.double(), dim=1)
        self.distances = torch.zeros(len(features), dtype=torch.float64)
        for group in self.groups.sizes():
            slots = integers(self.groups.slots(group))
            mean = normalize(unit[slots].mean(0), dim=0)
            self.distances[slots] = 1 - unit[slots] @ mean

    @override
    def draw(self, n: int, step: int, size: int, rate: Rate | None = None) -> Tensor:
        """Of each class its share of the draw, without replacement within the draw."""
        n, sizes = min(n, size), self.groups.sizes()
        draws = self.random.uniforms(step, n + len(sizes))
        chosen: list[int] = []
        for group, share in water_fill(sizes, n, choose(sorted(sizes), draws[n:])).items():
            slots = integers(self.groups.slots(group))
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
    def resume(self, slots: Tensor, told: Mapping[str, Tensor], others: Sequence[Self]) -> None:
        """The distances were measured on other workers, and stay until the features are told anew."""
        super().resume(slots, told, others)
        self.distances[slots] = told["distances"]

    @override
    def state_dict(self) -> State:
        return super().state_dict() | {"distances": self.distances.clone()}

    @override
    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        self.distances = state["distances"].clone()
