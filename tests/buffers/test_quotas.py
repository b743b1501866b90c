"""How the capacity is shared over classes."""

from collections import Counter

import pytest
import torch
from torch import Tensor

from redwood.buffers import (
    ClassBalancedReservoir,
    GreedyBalanced,
    Herding,
    PerClassRandom,
    Policy,
    RehearsalBuffer,
    Ring,
)
from tests.buffers.helpers import feed, shuffled

BALANCED = [ClassBalancedReservoir, GreedyBalanced, Ring, PerClassRandom, Herding]
CAPACITY = 30


def sizes_after(policy: Policy, labels: Tensor, batch_size: int = 8) -> Counter[int]:
    """Class sizes at the end; the number of samples stored is looked at after each batch."""
    buffer = RehearsalBuffer(CAPACITY, policy=policy)
    for first in range(0, len(labels), batch_size):
        feed(buffer, labels[first : first + batch_size], batch_size, first)
        assert len(buffer) == min(buffer.n_seen, CAPACITY)
        assert sum(buffer.class_counts().values()) == len(buffer)
    return Counter(buffer.class_counts())


def spread(sizes: Counter[int]) -> int:
    return max(sizes.values()) - min(sizes.values())


@pytest.mark.parametrize("policy", BALANCED)
class TestSharedCapacity:
    @pytest.mark.parametrize("batch_size", [1, 8, 33])
    @pytest.mark.parametrize("n_classes", [1, 2, 4, 7, 30])
    @pytest.mark.few(19)
    def test_classes_that_come_one_after_the_other(self, policy: type[Policy], n_classes: int, batch_size: int) -> None:
        buffer = RehearsalBuffer(CAPACITY, policy=policy())
        for name in range(n_classes):
            feed(buffer, torch.full((CAPACITY + 4,), name), batch_size, name * (CAPACITY + 4))
            sizes = Counter(buffer.class_counts())
            assert set(sizes) == set(range(name + 1))
            assert sum(sizes.values()) == CAPACITY
            assert spread(sizes) <= 1

    @pytest.mark.parametrize("seed", range(5))
    def test_classes_in_random_order(self, policy: type[Policy], seed: int) -> None:
        sizes = sizes_after(policy(), shuffled([0] * 90 + [1] * 60 + [2] * 30 + [3] * 15, seed))
        assert sum(sizes.values()) == CAPACITY
        assert spread(sizes) <= 1

    @pytest.mark.parametrize("last", [0, 1, 2])
    def test_a_class_of_few_samples_hands_its_share_on(self, policy: type[Policy], last: int) -> None:
        blocks = [torch.tensor([0] * 50), torch.tensor([2] * 50)]
        blocks.insert(last, torch.tensor([1, 1]))
        sizes = sizes_after(policy(), torch.cat(blocks))
        assert sizes[1] == 2
        assert sum(sizes.values()) == CAPACITY
        # With classes one by one herding takes from others no more than what a class is entitled to.
        assert abs(sizes[0] - sizes[2]) <= (8 if policy is Herding else 1)

    def test_more_classes_than_slots(self, policy: type[Policy]) -> None:
        sizes = sizes_after(policy(), torch.arange(2 * CAPACITY).repeat_interleave(3))
        assert set(sizes.values()) == {1}
        assert len(sizes) == CAPACITY

    def test_classes_that_were_driven_out_may_come_again(self, policy: type[Policy]) -> None:
        labels = torch.arange(3 * CAPACITY * 4) % (2 * CAPACITY)
        assert sum(sizes_after(policy(), labels).values()) == CAPACITY

    def test_sizes_do_not_depend_on_the_seed_but_on_the_labels_alone(self, policy: type[Policy]) -> None:
        labels = shuffled([0] * 50 + [1] * 20 + [2] * 10)
        sizes = []
        for seed in range(3):
            buffer = RehearsalBuffer(CAPACITY, policy=policy(), seed=seed)
            feed(buffer, labels)
            sizes.append(buffer.class_counts())
        assert sizes[0] == sizes[1] == sizes[2]


class TestFixedQuota:
    @pytest.mark.parametrize("quota", [1, 4])
    def test_no_class_exceeds_it(self, quota: int) -> None:
        buffer = RehearsalBuffer(CAPACITY, policy=PerClassRandom(5, quota=quota))
        for name in range(5):
            feed(buffer, torch.tensor([name] * 20 + [0] * 5), 10)
            assert buffer.class_counts() == dict.fromkeys(range(name + 1), quota)

    def test_the_capacity_bounds_it(self) -> None:
        buffer = RehearsalBuffer(10, policy=PerClassRandom(5, quota=4))
        feed(buffer, torch.arange(5).repeat_interleave(20))
        assert sorted(buffer.class_counts().values()) == [2] * 5
