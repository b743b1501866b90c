"""Policies that share the capacity over classes: each decision, one sample after the other."""

from collections import Counter
from collections.abc import Callable

import pytest
import torch

from redwood.buffers import ClassBalancedReservoir, GreedyBalanced, PartitioningReservoir, PerClassRandom, Policy, Ring
from redwood.buffers.policies import CandidateInfo
from redwood.buffers.randomness import CounterRandom
from tests.buffers.helpers import equal, run, shuffled

SEED, CAPACITY = 7, 20
SHUFFLED = shuffled([0] * 80 + [1] * 40 + [2] * 20 + [3] * 5)
ONE_BY_ONE = torch.arange(6).repeat_interleave(40)
STREAMS = [SHUFFLED, ONE_BY_ONE]


def uniforms(n: int) -> list[tuple[float, float]]:
    """The numbers that the policies use: whether each sample enters, and what gives way to it."""
    lots, choices = (
        CounterRandom(SEED, name).uniforms(torch.arange(n)).tolist()
        for name in ("whether a sample enters", "which sample gives way")
    )
    return list(zip(lots, choices, strict=True))


def remove_any(rows: list[int], choice: float) -> None:
    """Give up a random row; the last one takes its place in the list."""
    rows[int(choice * len(rows))] = rows[-1]
    rows.pop()


def remove_oldest(rows: list[int], choice: float) -> None:
    rows.pop(0)


def class_balanced(
    labels: list[int],
    chance: Callable[[int, int], float],
    remove: Callable[[list[int], float], None] = remove_any,
) -> list[int]:
    """Chrysakis and Moens (2020), algorithm 1, one sample at a time; returns the arrivals that are kept."""
    memory: dict[int, list[int]] = {}
    seen, full = Counter[int](), set[int]()
    for i, (label, (lot, choice)) in enumerate(zip(labels, uniforms(len(labels)), strict=True)):
        seen[label] += 1
        own = memory.setdefault(label, [])
        if sum(map(len, memory.values())) < CAPACITY:
            own.append(i)
            continue
        most = max(map(len, memory.values()))
        largest = [name for name, rows in memory.items() if len(rows) == most]
        if label not in full:
            full |= set(largest)
        if label not in full:
            remove(memory[largest[0]], choice)
            own.append(i)
        elif lot < chance(seen[label], len(own)):
            remove(own, choice)
            own.append(i)
    return sorted(arrival for rows in memory.values() for arrival in rows)


def per_class_random(labels: list[int], batch_size: int, candidates: int, quota: int) -> list[int]:
    """Algorithm 1 of Bouvier et al. (2024) with a fixed quota, one sample at a time."""
    memory: dict[int, list[int]] = {}
    n = len(labels)
    for i, (label, (lot, choice)) in enumerate(zip(labels, uniforms(n), strict=True)):
        rows = memory.setdefault(label, [])
        if len(rows) < quota:  # always accepted while the class is not full
            rows.append(i)
            continue
        b = min(batch_size, n - i // batch_size * batch_size)
        if lot >= candidates / b:  # accepted with probability c / b
            continue
        remove_any(rows, choice)  # a uniform one of the same class
        rows.append(i)
    return sorted(arrival for rows in memory.values() for arrival in rows)


@pytest.mark.parametrize("labels", STREAMS)
class TestReference:
    @pytest.mark.parametrize("batch_size", [1, 7, 1000])
    def test_class_balanced_reservoir(self, labels: torch.Tensor, batch_size: int) -> None:
        kept = run(ClassBalancedReservoir(), labels, CAPACITY, batch_size, SEED)
        assert sorted(kept) == class_balanced(labels.tolist(), lambda n, m: m / n)

    @pytest.mark.parametrize("batch_size", [1, 7, 1000])
    def test_greedy_balanced(self, labels: torch.Tensor, batch_size: int) -> None:
        kept = run(GreedyBalanced(), labels, CAPACITY, batch_size, SEED)
        assert sorted(kept) == class_balanced(labels.tolist(), lambda n, m: 0)

    @pytest.mark.parametrize("batch_size", [1, 7, 1000])
    def test_ring(self, labels: torch.Tensor, batch_size: int) -> None:
        kept = run(Ring(), labels, CAPACITY, batch_size, SEED)
        assert sorted(kept) == class_balanced(labels.tolist(), lambda n, m: 1, remove_oldest)
        for name in range(int(labels.max()) + 1):
            arrivals = (labels == name).nonzero().view(-1).tolist()
            own = [arrival for arrival in arrivals if arrival in kept]
            assert own == arrivals[len(arrivals) - len(own) :]

    @pytest.mark.parametrize(("batch_size", "candidates"), [(1, 1), (7, 3), (16, 14), (16, 20), (1000, 14)])
    def test_per_class_random(self, labels: torch.Tensor, batch_size: int, candidates: int) -> None:
        quota, capacity = 4, 4 * (int(labels.max()) + 1)
        kept = run(PerClassRandom(candidates, quota), labels, capacity, batch_size, SEED)
        assert sorted(kept) == per_class_random(labels.tolist(), batch_size, candidates, quota)


@pytest.mark.parametrize("labels", STREAMS)
@pytest.mark.parametrize("policy", [ClassBalancedReservoir, GreedyBalanced, Ring, PartitioningReservoir])
def test_it_does_not_matter_how_the_stream_is_cut(policy: type[Policy], labels: torch.Tensor) -> None:
    whole = run(policy(), labels, CAPACITY, len(labels), SEED)
    for batch_size in (1, 3, 32):
        assert run(policy(), labels, CAPACITY, batch_size, SEED) == whole


class TestWhatIsKept:
    def test_greedy_keeps_the_first_of_a_class_alone(self) -> None:
        assert run(GreedyBalanced(), torch.zeros(50).long(), 8, 6) == list(range(8))

    def test_a_ring_keeps_the_latest_of_a_class_alone(self) -> None:
        assert sorted(run(Ring(), torch.zeros(50).long(), 8, 6)) == list(range(42, 50))

    def test_all_candidates_enter_if_there_are_as_many_as_samples(self) -> None:
        kept = run(PerClassRandom(6), torch.zeros(50).long(), 1, 6)
        assert kept == [49]

    @pytest.mark.parametrize("policy", [Ring, PerClassRandom, GreedyBalanced, ClassBalancedReservoir])
    def test_a_class_that_was_driven_out_stays_out_until_there_is_room(self, policy: type[Policy]) -> None:
        labels = torch.tensor([0, 0, 1, 1, 2, 2, 0, 0, 0])
        kept = labels[run(policy(), labels, 2, 3)]
        assert sorted(kept.tolist()) == [1, 2]


@pytest.mark.parametrize(("arguments", "message"), [((0,), "candidates.*got 0"), ((3, 0), "quota.*got 0")])
def test_arguments(arguments: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PerClassRandom(*arguments)


@pytest.mark.parametrize("policy", [ClassBalancedReservoir, GreedyBalanced, Ring])
@pytest.mark.parametrize("capacity", [300, 420, 1000])
def test_many_samples_at_once_are_kept_as_in_small_batches(policy: type[Policy], capacity: int) -> None:
    """Free slots are filled at once with a large batch only."""
    labels = shuffled(list(range(7)) * 60)
    states = []
    for batch in (10, 420):
        made = policy()
        made.bind(capacity, SEED)
        for part in labels.split(batch):
            made.propose(CandidateInfo(len(part), part))
        states.append(made.state_dict())
    assert equal(*states)


@pytest.mark.parametrize("quota", [50, 200])
def test_many_samples_at_once_keep_to_the_quota(quota: int) -> None:
    policy = PerClassRandom(candidates=1, quota=quota)
    policy.bind(1000, SEED)
    placement = policy.propose(CandidateInfo(300, torch.arange(300) % 2))
    assert policy.groups.sizes() == {0: min(quota, 150), 1: min(quota, 150)}
    assert len(placement.slots.unique()) == len(placement.slots) == policy.size


class TestRingState:
    def damaged(self, **damage: object) -> bool:
        original, restored = Ring(), Ring()
        for ring in (original, restored):
            ring.bind(9, SEED)
        original.propose(CandidateInfo(40, torch.arange(40) % 3))
        restored.load_state_dict(original.state_dict() | damage)
        return not restored.validate_slots(9)

    def test_damage_is_found(self) -> None:
        assert not self.damaged()
        assert self.damaged(next=torch.zeros(9, dtype=torch.int32))
        assert self.damaged(ends={0: (0, 1)})
        assert self.damaged(ends={0: (0, 1), 1: (2, 3), 2: (2, 3)})
