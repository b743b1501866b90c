"""Partitioning reservoir sampling, for long tails and for samples with several labels."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from redwood.buffers.policies.base import Offer, Placement, Policy
from redwood.buffers.randomness import StepRandom


class PartitioningReservoir(Policy):
    """Keep label u in proportion to n_u^rho, n_u being how often it came (PRS: Kim et al., 2020, ECCV).

    rho = 0 gives every label the same share, rho = 1 its share of the stream, rho < 0 favours the tail. Samples have
    one label each, or sets of them. Ties, which are the rule with one label each, are broken at random: the authors'
    code takes the first, and so keeps the oldest samples.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"labels"})
    takes_sets: ClassVar[bool] = True

    def __init__(self, rho: float = 0.0) -> None:
        """Choose the exponent of the shares."""
        self.rho = rho

    def bind(self, capacity: int, seed: int) -> None:
        """Start with no sample."""
        super().bind(capacity, seed)
        self._random = StepRandom(seed, "partitioning")
        self._n_labels = 0
        self._seen = torch.zeros(0, dtype=torch.float64)  # n_u
        self._stored = torch.zeros(capacity, 0, dtype=torch.bool)  # label set of each slot
        self._counts = torch.zeros(0, dtype=torch.float64)  # l_u

    def grow(self, capacity: int) -> None:
        """Decide from now on for more slots."""
        more = torch.zeros(capacity - self.capacity, self._stored.shape[1], dtype=torch.bool)
        super().grow(capacity)
        self._stored = torch.cat([self._stored, more])

    def place(self, offer: Offer) -> Placement:
        """Decide one sample after the other: what is kept changes the shares."""
        assert offer.labels is not None
        sets = self._as_sets(offer.labels)
        taken: dict[int, int] = {}
        for position, labels in enumerate(sets):
            slot = self._slot(labels)
            self.n_seen += 1
            self._seen += labels
            if slot is not None:
                self._counts += labels.double() - self._stored[slot].double()
                self._stored[slot] = labels
                taken[slot] = position
        return Placement.of(taken)

    def _as_sets(self, labels: Tensor) -> Tensor:
        """Label sets (n, L) bool; L grows with the labels that come."""
        if labels.dim() == 1:
            n_labels = max(self._n_labels, int(labels.max()) + 1 if len(labels) else 0)
            sets = torch.nn.functional.one_hot(labels, n_labels).bool()
        else:
            n_labels, sets = max(self._n_labels, labels.shape[1]), labels.bool()
            sets = torch.nn.functional.pad(sets, (0, n_labels - sets.shape[1]))
        if n_labels > self._n_labels:
            more = n_labels - self._n_labels
            self._seen, self._counts = (torch.nn.functional.pad(t, (0, more)) for t in (self._seen, self._counts))
            self._stored = torch.nn.functional.pad(self._stored, (0, more))
            self._n_labels = n_labels
        return sets

    def _slot(self, labels: Tensor) -> int | None:
        if self.size < self.capacity:
            self.size += 1
            return self.size - 1
        enters, label, tie = self._random.uniforms(self.n_seen, 3)
        counts = self._counts
        if not bool(counts.any()):  # nothing stored has a label
            return int(tie * self.capacity) if bool(labels.any()) else None
        powers = torch.where(counts > 0, self._seen.clamp(min=1).pow(self.rho), 0.0)
        shares = powers / powers.sum()  # p_u, equation 1
        if enters >= self._rate(labels, shares):
            return None
        return self._gives_way(counts, shares, label, tie)

    def _rate(self, labels: Tensor, shares: Tensor) -> float:
        """Probability s that a sample with these labels (L,) enters (equation 2)."""
        own = labels.nonzero().view(-1)
        if not len(own):
            return 0.0
        seen = self._seen[own]
        # A label that is new, or that has been driven out, is wanted in any case.
        rates = torch.where(self._counts[own] > 0, (self.capacity * shares[own] / seen.clamp(min=1)).clamp(max=1), 1.0)
        return float((torch.softmax(-seen, 0) * rates).sum())

    def _gives_way(self, counts: Tensor, shares: Tensor, label: float, tie: float) -> int:
        """The slot to give up (equations 3 to 5); `label` and `tie` are uniform in [0, 1)."""
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

    def state_dict(self) -> dict[str, Any]:
        """The label sets of the slots, and how often each label came."""
        return super().state_dict() | {"seen": self._seen.clone(), "stored": self._stored[: self.size].clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        super().load_state_dict(state)
        self._seen, self._n_labels = state["seen"].clone(), len(state["seen"])
        self._stored = torch.zeros(self.capacity, self._n_labels, dtype=torch.bool)
        self._stored[: self.size] = state["stored"]
        self._counts = self._stored.sum(0, dtype=torch.float64)
