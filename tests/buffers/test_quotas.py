"""How the capacity is shared over classes."""

from collections import Counter

import pytest
import torch
from torch import Tensor

from redwood.buffers import (
    ClassBalancedReservoir,
    Herding,
    PerClassRandom,
    Policy,
    RehearsalBuffer,
)
from tests.buffers.helpers import feed

# `policies/test_class_quota.py` compares others with what decides one sample after the other.
BALANCED = [ClassBalancedReservoir, PerClassRandom, Herding]
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
    @pytest.mark.few(8)
    def test_classes_that_come_one_after_the_other(self, policy: type[Policy], n_classes: int, batch_size: int) -> None:
        buffer = RehearsalBuffer(CAPACITY, policy=policy())
        for name in range(n_classes):
            feed(buffer, torch.full((CAPACITY + 4,), name), batch_size, name * (CAPACITY + 4))
            sizes = Counter(buffer.class_counts())
            assert set(sizes) == set(range(name + 1))
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
