import math
from collections import Counter

import pytest
import torch
from torch import Tensor

from redwood.buffers import PartitioningReservoir, RehearsalBuffer, Reservoir
from redwood.buffers.policies import CandidateInfo
from redwood.buffers.randomness import StepRandom
from tests.buffers.helpers import run


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def multi_label_stream(seed: int) -> Tensor:
    """Label sets (4000, 12), label u being there with a probability in proportion to (u + 1)^-1.5; none is empty."""
    chances = (torch.arange(12) + 1.0) ** -1.5
    sets = torch.rand(4000, 12, generator=generator(seed)) < chances / chances.sum()
    first = torch.multinomial(chances, 4000, replacement=True, generator=generator(seed + 100))
    return sets | torch.nn.functional.one_hot(first, 12).bool()


def balance(labels: Tensor, kept: list[int]) -> float:
    """Least over most samples of a label; labels are classes (n,) or sets (n, L)."""
    counts = labels[kept].bincount(minlength=int(labels.max()) + 1) if labels.dim() == 1 else labels[kept].sum(0)
    return float(counts.min() / counts.max())


def reference(sets: list[set[int]], capacity: int, rho: float, seed: int) -> list[int]:
    """The algorithm as the paper has it, one sample and one label at a time, with random ties."""
    random, kept, seen = StepRandom(seed, "partitioning"), list[int](), Counter[int]()
    for i, labels in enumerate(sets):
        if len(kept) < capacity:
            kept.append(i)
            seen.update(labels)
            continue
        enters, label, tie = random.uniforms(i, 3)
        stored = Counter(u for k in kept for u in sets[k])
        total = sum(seen[u] ** rho for u in stored)
        p = {u: seen[u] ** rho / total for u in sorted(stored)}  # (1)
        w = {u: math.exp(-seen[u] + min(seen[v] for v in labels)) for u in labels}
        rates = {u: min(1.0, capacity * p[u] / seen[u]) if u in p else 1.0 for u in labels}
        if enters < sum(w[u] * rates[u] for u in labels) / sum(w.values()):  # (2)
            delta = {u: stored[u] - p[u] * sum(stored.values()) for u in p}
            odds = [math.exp(d) for d in delta.values()]  # (3)
            sums = [sum(odds[: j + 1]) for j in range(len(odds))]
            c = list(p)[next(j for j, s in enumerate(sums) if s > label * sums[-1])]
            query = {u for u in p if delta[u] <= 0}
            slots = [slot for slot, k in enumerate(kept) if c in sets[k]]
            if any(len(sets[kept[slot]]) > 1 for slot in slots):
                lacks = {slot: len(query - sets[kept[slot]]) for slot in slots}
                slots = [slot for slot in slots if lacks[slot] == max(lacks.values())]  # (4)
                off = {}
                for slot in slots:
                    after = {u: stored[u] - (u in sets[kept[slot]]) for u in p}
                    off[slot] = sum(abs(after[u] - p[u] * sum(after.values())) for u in p)
                slots = [slot for slot in slots if off[slot] <= min(off.values()) + 1e-9]  # (5)
            kept[slots[int(tie * len(slots))]] = i
        seen.update(labels)
    return kept


@pytest.mark.parametrize("rho", [0, 1, -0.5])
def test_equals_the_reference(rho: float) -> None:
    sets = multi_label_stream(5)[:500]
    as_sets = [set(row.nonzero().view(-1).tolist()) for row in sets]
    assert run(PartitioningReservoir(rho), sets, 40, 23, seed=3) == reference(as_sets, 40, rho, seed=3)
    single = [{min(labels)} for labels in as_sets]
    classes = torch.tensor([min(labels) for labels in single])
    assert run(PartitioningReservoir(rho), classes, 40, 23, seed=3) == reference(single, 40, rho, seed=3)


class TestOneLabelEach:
    @pytest.mark.parametrize("seed", range(3))
    def test_old_samples_are_not_kept_for_ever(self, seed: int) -> None:
        labels = torch.randint(10, (3000,), generator=generator(seed))
        kept = run(PartitioningReservoir(), labels, 100, 100, seed)
        assert 0.05 <= sum(arrival < 300 for arrival in kept) / 100 <= 0.2

    @pytest.mark.parametrize("seed", range(3))
    def test_a_long_tail_is_levelled(self, seed: int) -> None:
        shares = 0.6 / (torch.arange(10) + 1.0) ** 1.6
        labels = torch.multinomial(shares, 3000, replacement=True, generator=generator(seed))
        assert balance(labels, run(PartitioningReservoir(0), labels, 100, 100, seed)) >= 1 / 2.5
        assert balance(labels, run(Reservoir(), labels, 100, 100, seed)) < 0.2

    def test_rho_1_keeps_the_shares_of_the_stream(self) -> None:
        shares = torch.tensor([0.5, 0.3, 0.15, 0.05])
        labels = torch.multinomial(shares, 2000, replacement=True, generator=generator(0))
        kept = labels[run(PartitioningReservoir(1), labels, 200, 100)].bincount() / 200
        assert kept.tolist() == pytest.approx((labels.bincount() / 2000).tolist(), abs=0.02)

    def test_a_negative_rho_favours_the_tail(self) -> None:
        shares = torch.tensor([0.6, 0.3, 0.1])
        labels = torch.multinomial(shares, 1500, replacement=True, generator=generator(0))
        counts = labels[run(PartitioningReservoir(-1), labels, 60, 100)].bincount()
        assert counts[2] > counts[1] > counts[0]

    def test_classes_that_come_one_after_the_other(self) -> None:
        labels = torch.arange(5).repeat_interleave(200)
        counts = labels[run(PartitioningReservoir(), labels, 50, 10)].bincount()
        assert counts.min() >= 7
        assert counts.sum() == 50

    def test_classes_and_sets_of_one_are_the_same(self) -> None:
        labels = torch.randint(6, (500,), generator=generator(1))
        sets = torch.nn.functional.one_hot(labels).bool()
        assert run(PartitioningReservoir(), labels, 30, 9) == run(PartitioningReservoir(), sets, 30, 9)


class TestLabelSets:
    @pytest.mark.parametrize("seed", range(2))
    def test_rare_labels_are_kept(self, seed: int) -> None:
        sets = multi_label_stream(seed)
        plain = balance(sets, run(Reservoir(), sets, 200, 100, seed))
        assert balance(sets, run(PartitioningReservoir(0), sets, 200, 100, seed)) >= 4 * plain
        assert balance(sets, run(PartitioningReservoir(-0.03), sets, 200, 100, seed)) >= 4 * plain

    def test_rho_1_is_like_the_stream(self) -> None:
        sets = multi_label_stream(0)
        assert balance(sets, run(PartitioningReservoir(1), sets, 200, 100)) < 0.06

    def test_it_does_not_matter_how_the_stream_is_cut(self) -> None:
        sets = multi_label_stream(0)[:500]
        whole = run(PartitioningReservoir(), sets, 30, 500)
        assert run(PartitioningReservoir(), sets, 30, 1) == run(PartitioningReservoir(), sets, 30, 64) == whole

    def test_later_sets_may_have_more_labels(self) -> None:
        buffer = RehearsalBuffer(6, policy=PartitioningReservoir())
        buffer.add({"id": torch.arange(20)}, labels=torch.ones(20, 1).bool())
        sets = torch.zeros(20, 4).bool()
        sets[:, 3] = True
        buffer.add({"id": torch.arange(20, 40)}, labels=sets)
        buffer.add({"id": torch.arange(40, 60)}, labels=torch.ones(20, 2).bool())
        assert (buffer.all()["id"] >= 20).sum() >= 4

    def test_samples_without_labels(self) -> None:
        policy, nothing, something = PartitioningReservoir(), torch.zeros(6, 3).bool(), torch.ones(6, 3).bool()
        policy.bind(4, 0)
        assert policy.propose(CandidateInfo(6, nothing)).positions.tolist() == [0, 1, 2, 3]
        assert len(policy.propose(CandidateInfo(6, something)).slots) >= 1
        assert policy.propose(CandidateInfo(6, nothing)).slots.tolist() == []


class TestEquations:
    """Of one decision, in a state made by hand."""

    def decide(self, sets: Tensor, seen: Tensor, labels: Tensor, n_trials: int = 400) -> Tensor:
        """How often each slot is given up; the last count: how often the sample is refused."""
        counts = torch.zeros(len(sets) + 1, dtype=torch.int64)
        for seed in range(n_trials):
            policy = PartitioningReservoir(0)
            policy.bind(len(sets), seed)
            policy.load_state_dict({"size": len(sets), "n_seen": 50, "seen": seen.double(), "stored": sets})
            slots = policy.propose(CandidateInfo(1, labels[None])).slots.tolist()
            counts[slots[0] if slots else -1] += 1
        return counts

    def test_the_rate_follows_the_rarest_label(self) -> None:
        sets = torch.eye(2).bool().repeat(5, 1)
        one, both = torch.tensor([True, False]), torch.tensor([True, True])
        seen = torch.tensor([100, 10])
        assert self.decide(sets, seen, one)[-1] / 400 == pytest.approx(1 - 5 / 100, abs=0.05)
        assert self.decide(sets, seen, both)[-1] / 400 == pytest.approx(1 - 5 / 10, abs=0.08)

    def test_the_label_in_excess_gives_way(self) -> None:
        sets = torch.eye(2).bool()[torch.tensor([0] * 18 + [1] * 2)]
        counts = self.decide(sets, torch.tensor([20, 1]), torch.tensor([False, True]))
        assert counts[18:].sum() == 0
        assert (counts[:18] > 0).all()

    def test_samples_that_carry_short_labels_stay(self) -> None:
        sets = torch.tensor([[1, 0, 0]] * 10 + [[1, 1, 0]] * 14 + [[1, 0, 1]] * 6).bool()
        counts = self.decide(sets, torch.tensor([40, 14, 1]), torch.tensor([False, False, True]))
        assert counts[10:30].sum() == 0
        assert (counts[:10] > 0).all()
