import pytest
import torch

from redwood.buffers import Reservoir
from redwood.buffers.policies import CandidateInfo
from redwood.buffers.randomness import CounterRandom
from tests.buffers.helpers import run


def algorithm_r(uniforms: list[float], capacity: int) -> list[int]:
    """Vitter's algorithm R, one sample at a time: the arrival that each slot holds."""
    slots: list[int] = []
    for i, uniform in enumerate(uniforms):
        if i < capacity:
            slots.append(i)
        elif (slot := int(uniform * (i + 1))) < capacity:
            slots[slot] = i
    return slots


@pytest.mark.parametrize("batch_size", [1, 5, 16, 100, 5000, 9000])
@pytest.mark.parametrize("capacity", [1, 16, 50])
def test_equals_the_sequential_algorithm(capacity: int, batch_size: int) -> None:
    uniforms = CounterRandom(3, "reservoir").uniforms(torch.arange(9000)).tolist()
    n = 300 if batch_size == 1 else 9000
    assert run(Reservoir(), torch.zeros(n), capacity, batch_size, seed=3) == algorithm_r(uniforms[:n], capacity)


def test_the_last_of_several_samples_takes_a_slot() -> None:
    policy = Reservoir()
    policy.bind(4, 0)
    positions, slots = policy.propose(CandidateInfo(1000))
    assert sorted(slots.tolist()) == [0, 1, 2, 3]
    wins = (CounterRandom(0, "reservoir").run(0, 1000) * (torch.arange(1000) + 1)).long()
    for position, slot in zip(positions.tolist(), slots.tolist(), strict=True):
        assert (wins[position + 1 :] != slot).all()
