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

    A row is drawn in proportion to 1 / (d + r m + 1e-7). Here d is the cosine distance of its latest features to the
    mean of its class, m is the largest d of the class, and r is how often the row was drawn since `refresh`. So no row
    that was not drawn yet is less likely than one that was. r is counted from the row of the class that was drawn least
    often, so that the distances stay bounded however long `refresh` is not called.

    `refresh` measures all distances again. A row that is stored later gets the distance of the features that it came
    with, to the mean of those that its class has had since.

    Attributes:
        distances: d of each slot.
        rounds: r of each slot.
        sums: For each class the sum of its features (d,), each of length 1.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"labels", "features"})
    shared: ClassVar[bool] = False  # only the worker that stores a row knows its distance

    @override
    def bind(self, seed: int) -> None:
        super().bind(seed)
        self.distances = torch.zeros(0, dtype=torch.float64)
        self.rounds = torch.zeros(0, dtype=torch.int64)
        self.sums: dict[int, Tensor] = {}

    @override
    def on_stored(self, slots: Tensor, labels: Tensor | None, tasks: Tensor | None) -> None:
        super().on_stored(slots, labels, tasks)
        missing = self.groups.total - len(self.distances)
        self.distances = torch.cat([self.distances, self.distances.new_zeros(missing)])
        self.rounds = torch.cat([self.rounds, self.rounds.new_zeros(missing)])
        self.rounds[slots] = 0

    @override
    def on_features(self, slots: Tensor, features: Tensor) -> None:
        unit, groups = normalize(features.double(), dim=1), self.groups.of_all()[slots]
        for group in groups.unique().tolist():
            own = unit[groups == group]
            self.sums[group] = self.sums.get(group, 0) + own.sum(0)
            self.distances[slots[groups == group]] = self._distances_to_mean(own, group)

    @override
    def refresh(self, features: Tensor) -> None:
        unit = normalize(features.double(), dim=1)
        self.distances, self.sums = torch.zeros(len(features), dtype=torch.float64), {}
        self.rounds = torch.zeros(len(features), dtype=torch.int64)
        for group in self.groups.sizes():
            slots = self.groups.slots(group)
            self.sums[group] = unit[slots].sum(0)
            self.distances[slots] = self._distances_to_mean(unit[slots], group)

    def _distances_to_mean(self, unit: Tensor, group: int) -> Tensor:
        """Cosine distances (n,) of features (n, d) of length 1; rounding must not make one negative."""
        return (1 - unit @ normalize(self.sums[group], dim=0)).clamp(min=0)

    @override
    def draw(self, n: int, step: int, size: int, rate: Rate | None = None) -> Tensor:
        """Equally many rows of each class, as far as it has them, without replacement."""
        n, sizes = min(n, size), self.groups.sizes()
        draws = self.random.uniforms(step, n + len(sizes))
        chosen: list[int] = []
        for group, share in water_fill(sizes, n, choose(sorted(sizes), draws[n:])).items():
            slots = self.groups.slots(group)
            picks = slots[_distinct(self.weights(slots), draws[len(chosen) : len(chosen) + share])]
            self.rounds[picks] += 1
            self.rounds[slots] -= self.rounds[slots].min()
            chosen += picks.tolist()
        return integers(chosen)

    def weights(self, slots: Tensor) -> Tensor:
        """Return the unnormalised probability of each of the rows (n,) of one class to be drawn next."""
        distances = self.distances[slots]
        return 1 / (distances + self.rounds[slots] * distances.max() + 1e-7)

    @override
    def slot_metadata(self) -> dict[str, Tensor]:
        own = {"distances": self.distances.clone(), "rounds": self.rounds.clone()}
        return super().slot_metadata() | own

    @override
    def resume(self, slots: Tensor, metadata: Mapping[str, Tensor], others: Sequence[Self]) -> None:
        """Distances of other workers stay valid until the next `refresh`."""
        super().resume(slots, metadata, others)
        self.distances[slots], self.rounds[slots] = metadata["distances"], metadata["rounds"]
        for other in others:
            for group, total in other.sums.items():
                self.sums[group] = self.sums.get(group, 0) + total

    @override
    def state_dict(self) -> State:
        own = {"distances": self.distances.clone(), "rounds": self.rounds.clone()}
        return super().state_dict() | own | {"sums": {group: total.clone() for group, total in self.sums.items()}}

    @override
    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        self.distances, self.rounds = state["distances"].clone(), state["rounds"].clone()
        self.sums = {group: total.clone() for group, total in state["sums"].items()}


def _distinct(weights: Tensor, draws: Sequence[float]) -> Tensor:
    """A distinct number below n for each uniform draw (k,), one after the other, in proportion to the weights (n,)."""
    left, chosen = torch.arange(len(weights)), []
    for draw in draws:
        sums = weights[left].cumsum(0)
        pick = min(int(torch.searchsorted(sums, draw * float(sums[-1]), right=True)), len(left) - 1)
        chosen.append(int(left[pick]))
        left = torch.cat([left[:pick], left[pick + 1 :]])
    return integers(chosen)
