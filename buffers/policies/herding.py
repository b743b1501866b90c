"""Herding: the samples whose mean feature is nearest to that of their class."""

from collections.abc import Callable, Sequence
from typing import ClassVar, Self

import torch
from torch import Tensor
from torch.nn.functional import normalize
from typing_extensions import override

from redwood.buffers.policies.base import CandidateInfo, Placement, Policy
from redwood.buffers.randomness import integers
from redwood.core.errors import BufferInputError
from redwood.core.state import State


def herd(features: Tensor, mean: Tensor, k: int) -> Tensor:
    """Order samples greedily, so that for every j the mean of the first j is near to `mean`.

    p_j = argmin over the samples not chosen yet of || mean - (phi(x) + phi(p_1) + ... + phi(p_{j-1})) / j ||
    (Rebuffi et al., 2017, iCaRL, algorithm 4, line 4).

    Args:
        features: Features (n, d), normalised.
        mean: The mean to approximate (d,).
        k: Number of samples to choose, at most n.

    Returns:
        Indices (k,), int64, the most important one first.
    """
    chosen: list[int] = []
    total = torch.zeros_like(mean)
    left = torch.zeros(len(features), dtype=features.dtype)
    for j in range(1, k + 1):
        distances = (mean - (features + total) / j).square().sum(1) + left
        best = int(distances.argmin())
        chosen.append(best)
        left[best] = torch.inf
        total = total + features[best]
    return torch.tensor(chosen, dtype=torch.int64)


class Herding(Policy):
    """Keep the exemplars of each class that herding chooses (Rebuffi et al., 2017, iCaRL, algorithms 4 and 5).

    The classes seen so far share the capacity. The exemplars of a class are ordered by importance; the last ones are
    given up first when other classes need room. If a whole class is added at once, this is iCaRL's construction. If it
    is added batch by batch, each batch competes with the stored exemplars for the mean of all features seen so far.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"labels", "features"})

    @override
    def bind(self, capacity: int, seed: int) -> None:
        super().bind(capacity, seed)
        self.exemplars: dict[int, list[int]] = {}  # the slots of each class, the most important one first
        self._sums: dict[int, Tensor] = {}  # sum of the normalised features of each class
        self._counts: dict[int, int] = {}
        self._features = torch.zeros(capacity, 0)

    @override
    def propose(self, info: CandidateInfo) -> Placement:
        """Choose among the exemplars and the incoming samples, class by class."""
        assert info.labels is not None
        assert info.features is not None
        features = normalize(info.features.float(), dim=1)
        if not self._features.shape[1]:
            self._features = torch.zeros(self.capacity, features.shape[1])
        if features.shape[1] != self._features.shape[1]:
            raise BufferInputError(
                f"The features had {self._features.shape[1]} entries so far, got {features.shape[1]}."
            )
        self.n_seen += info.n
        classes = info.labels.unique().tolist()
        for name in classes:
            self.exemplars.setdefault(name, [])
        taken: dict[int, int] = {}
        for name in classes:
            positions = (info.labels == name).nonzero().view(-1)
            self._choose(name, positions, features[positions], taken)
        return Placement.of(taken)

    def _choose(self, name: int, positions: Tensor, features: Tensor, taken: dict[int, int]) -> None:
        self._sums[name] = self._sums.get(name, 0) + features.sum(0)
        self._counts[name] = self._counts.get(name, 0) + len(features)
        old = self.exemplars[name]
        candidates = torch.cat([self._features[torch.tensor(old, dtype=torch.int64)], features])
        room = max(self._share(name), len(old) + self.capacity - self.size)
        order = herd(candidates, self._sums[name] / self._counts[name], min(room, len(candidates))).tolist()
        chosen = set(order)
        given_up = [slot for i, slot in enumerate(old) if i not in chosen]
        self.exemplars[name] = []
        for i in order:
            slot = old[i] if i < len(old) else self._slot(given_up)
            if i >= len(old):
                self._features[slot] = candidates[i]
                taken[slot] = int(positions[i - len(old)])
            self.exemplars[name].append(slot)

    def _slot(self, given_up: list[int]) -> int:
        """A slot for a new exemplar: one that its class gives up, a free one, or the last one of the largest class."""
        if given_up:
            return given_up.pop()
        if self.size < self.capacity:
            self.size += 1
            return self.size - 1
        richest = max(self.exemplars, key=lambda name: len(self.exemplars[name]) - self._share(name))
        return self.exemplars[richest].pop()

    def _share(self, name: int) -> int:
        """Number of exemplars that a class may have; the first classes get the remainder of the division."""
        share, rest = divmod(self.capacity, len(self.exemplars))
        return share + (list(self.exemplars).index(name) < rest)

    @override
    def validate_slots(self, size: int) -> bool:
        return sorted(slot for slots in self.exemplars.values() for slot in slots) == list(range(size))

    @override
    def slot_metadata(self) -> dict[str, Tensor]:
        labels = {slot: name for name, slots in self.exemplars.items() for slot in slots}
        return {
            "labels": integers([labels[slot] for slot in range(self.size)]),
            "features": self._features[: self.size].clone(),
        }

    @override
    def resume(self, info: CandidateInfo, others: Sequence[Self], share: Callable[[int], int]) -> Placement:
        """Choose among samples of other workers, for the means of all samples that these have seen."""
        for name in dict.fromkeys(name for other in others for name in other.exemplars):
            self.exemplars[name] = []
            knowing = [other for other in others if name in other.exemplars]
            total = sum((other._not_stored(name)[0] for other in knowing), start=torch.zeros(()))
            count = sum(other._not_stored(name)[1] for other in knowing)
            n = share(count)
            if n:
                self._sums[name], self._counts[name] = total * (n / count), n
            self.n_seen += n
        return self.propose(info)

    def _not_stored(self, name: int) -> tuple[Tensor, int]:
        """Sum of the features of a class over the samples that are not stored, and the number of these samples."""
        slots = self.exemplars[name]
        return self._sums[name] - self._features[slots].sum(0), self._counts[name] - len(slots)

    @override
    def state_dict(self) -> State:
        return super().state_dict() | {
            "exemplars": {name: list(slots) for name, slots in self.exemplars.items()},
            "sums": {name: total.clone() for name, total in self._sums.items()},
            "counts": dict(self._counts),
            "features": self._features[: self.size].clone(),
        }

    @override
    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        self.exemplars = {name: list(slots) for name, slots in state["exemplars"].items()}
        self._sums, self._counts = dict(state["sums"]), dict(state["counts"])
        self._features = torch.zeros(self.capacity, state["features"].shape[1])
        self._features[: self.size] = state["features"]
