"""Partitioning reservoir sampling, for long tails and for samples with several labels."""

import math
from collections.abc import Callable, Sequence
from typing import ClassVar, Self

import torch
from torch import Tensor
from torch.nn.functional import one_hot, pad
from typing_extensions import override

from redwood.buffers.policies.base import CandidateInfo, Placement, Policy
from redwood.buffers.randomness import StepRandom
from redwood.core.errors import BufferInputError
from redwood.core.state import State


class PartitioningReservoir(Policy):
    """Keep label u in proportion to n_u^rho, where n_u is its number of samples (PRS: Kim et al., 2020, ECCV).

    rho = 0 gives every label the same share, rho = 1 its share of the stream, rho < 0 favours the tail. Samples have
    one label each, or sets of labels. Ties are broken at random; with one label each they are the rule. The authors'
    code takes the first one, and so keeps the oldest samples.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"labels"})
    takes_sets: ClassVar[bool] = True

    def __init__(self, rho: float = 0.0) -> None:
        """Choose the exponent of the shares, between -10 and 10.

        Raises:
            ValueError: If it is not.
        """
        if not -10 <= rho <= 10:
            raise BufferInputError(f"rho has to be between -10 and 10, got {rho}.")
        self.rho = rho

    @override
    def bind(self, capacity: int, seed: int) -> None:
        super().bind(capacity, seed)
        self._random = StepRandom(seed, "partitioning")
        self._stored = torch.zeros(capacity, 0, dtype=torch.bool)  # label set of each slot
        # Of each label: n_u, l_u, and n_u^rho, or 0 as long as no stored sample has it.
        self._seen: list[int] = []
        self._counts: list[int] = []
        self._powers: list[float] = []

    @override
    def propose(self, info: CandidateInfo) -> Placement:
        """Decide one sample after the other, since each kept sample changes the shares."""
        assert info.labels is not None
        sets = self._as_sets(info.labels)
        taken: dict[int, int] = {}
        for position, labels in enumerate(_names(info.labels)):
            slot = self._slot(labels)
            self.n_seen += 1
            for label in labels:
                self._seen[label] += 1
            if slot is not None:
                self._put(slot, sets[position])
                taken[slot] = position
            for label in labels:
                self._update_power(label)
        return Placement.of(taken)

    def _as_sets(self, labels: Tensor) -> Tensor:
        """Label sets (n, L) bool; L grows when new labels arrive."""
        known = len(self._seen)
        if labels.dim() == 1:
            n_labels = max(known, int(labels.max()) + 1 if len(labels) else 0)
            sets = one_hot(labels, n_labels).bool()
        else:
            n_labels = max(known, labels.shape[1])
            sets = pad(labels, (0, n_labels - labels.shape[1]))
        new = n_labels - known
        if new:
            self._stored = pad(self._stored, (0, new))
            self._seen, self._counts = self._seen + [0] * new, self._counts + [0] * new
            self._powers = self._powers + [0.0] * new
        return sets

    def _put(self, slot: int, labels: Tensor) -> None:
        for label, change in enumerate((labels.int() - self._stored[slot].int()).tolist()):
            if change:
                self._counts[label] += change
                self._update_power(label)
        self._stored[slot] = labels

    def _update_power(self, label: int) -> None:
        self._powers[label] = float(max(1, self._seen[label])) ** self.rho if self._counts[label] else 0.0

    def _slot(self, labels: list[int]) -> int | None:
        if self.size < self.capacity:
            self.size += 1
            return self.size - 1
        enters, label, tie = self._random.uniforms(self.n_seen, 3)
        total = sum(self._powers)
        if not total:  # nothing stored has a label
            return int(tie * self.capacity) if labels else None
        if enters >= self._rate(labels, total):
            return None
        shares = torch.tensor(self._powers, dtype=torch.float64) / total  # p_u, equation 1
        return self._gives_way(shares, label, tie)

    def _rate(self, labels: list[int], total: float) -> float:
        """Probability s that a sample with these labels enters (equation 2)."""
        if not labels:
            return 0.0
        rarest = min(self._seen[label] for label in labels)
        weights = [math.exp(rarest - self._seen[label]) for label in labels]
        # A label without a stored sample always enters.
        rates = [
            min(1.0, self.capacity * self._powers[label] / total / max(1, self._seen[label]))
            if self._counts[label]
            else 1.0
            for label in labels
        ]
        return sum(w * r for w, r in zip(weights, rates, strict=True)) / sum(weights)

    def _gives_way(self, shares: Tensor, label: float, tie: float) -> int:
        """The slot to give up (equations 3 to 5); `label` and `tie` are uniform in [0, 1)."""
        counts = torch.tensor(self._counts, dtype=torch.float64)
        excess = counts - shares * counts.sum()  # delta_u
        odds = torch.softmax(torch.where(counts > 0, excess, -torch.inf), 0)
        sums = odds.cumsum(0)
        chosen = int(torch.searchsorted(sums, label * float(sums[-1]), right=True))
        members = self._stored[:, chosen].nonzero().view(-1)
        sets = self._stored[members]
        if bool((sets.sum(1) > 1).any()):
            short = (excess <= 0) & (counts > 0)
            lacks = (short & ~sets).sum(1)
            keep = lacks == lacks.max()
            members, sets = members[keep], sets[keep]
            after = counts - sets.double()
            distance = (after - shares * after.sum(1, keepdim=True)).abs().sum(1)
            members = members[distance <= distance.min() + 1e-9]
        return int(members[int(tie * len(members))])

    @override
    def slot_metadata(self) -> dict[str, Tensor]:
        return {"labels": self._stored[: self.size].clone()}

    @override
    def resume(self, info: CandidateInfo, others: Sequence[Self], share: Callable[[int], int]) -> Placement:
        """Start with samples of other workers; samples seen before are counted label by label."""
        placement = super().resume(info, others, share)
        for label in range(len(self._seen)):
            known = [other for other in others if label < len(other._seen)]
            self._seen[label] += share(sum(other._seen[label] - other._counts[label] for other in known))
            self._update_power(label)
        return placement

    @override
    def state_dict(self) -> State:
        return super().state_dict() | {"seen": list(self._seen), "stored": self._stored[: self.size].clone()}

    @override
    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        self._seen = list(state["seen"])
        self._stored = torch.zeros(self.capacity, len(self._seen), dtype=torch.bool)
        self._stored[: self.size] = state["stored"]
        self._counts = self._stored.sum(0).tolist()
        self._powers = [0.0] * len(self._seen)
        for label in range(len(self._seen)):
            self._update_power(label)


def _names(labels: Tensor) -> list[list[int]]:
    """The labels of each sample."""
    if labels.dim() == 1:
        return [[label] for label in labels.tolist()]
    names: list[list[int]] = [[] for _ in range(len(labels))]
    for position, label in labels.nonzero().tolist():
        names[position].append(label)
    return names
