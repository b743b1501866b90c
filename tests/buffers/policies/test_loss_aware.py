import torch
from torch import Tensor

from redwood.buffers import LossAwareReservoir, RehearsalBuffer
from redwood.buffers.policies import CandidateInfo
from tests.buffers.helpers import losses_of
from tests.buffers.statistics import ALPHA, chi_square_tail, share_p_value

LOSSES = torch.tensor([0.1, 2.0, 0.5, 1.2, 0.1])


def victims(losses: Tensor, told: Tensor | None = None, n_trials: int = 800) -> Tensor:
    """How often each slot is given up to the next sample; `told` are losses of a later replay."""
    counts = torch.zeros(len(losses), dtype=torch.int64)
    for seed in range(n_trials):
        policy = LossAwareReservoir()
        policy.bind(len(losses), seed)
        policy.propose(CandidateInfo(len(losses), losses=losses))
        if told is not None:
            policy.on_replayed(torch.arange(len(losses)), told)
        counts[policy.propose(CandidateInfo(1, losses=torch.ones(1))).slots] += 1
    return counts


class TestVictims:
    def test_small_losses_give_way_in_proportion_to_the_distance_from_the_largest(self) -> None:
        counts = victims(LOSSES)
        weights = LOSSES.max() - LOSSES
        assert counts[weights == 0].sum() == 0
        assert share_p_value(counts[weights > 0], weights[weights > 0]) > ALPHA

    def test_equal_losses_give_way_equally(self) -> None:
        assert share_p_value(victims(torch.ones(5)), torch.ones(5)) > ALPHA

    def test_losses_of_replayed_rows_count(self) -> None:
        counts = victims(torch.ones(5), told=LOSSES)
        weights = LOSSES.max() - LOSSES
        assert counts[weights == 0].sum() == 0
        assert share_p_value(counts[weights > 0], weights[weights > 0]) > ALPHA

    def test_a_new_sample_has_its_own_loss(self) -> None:
        policy = LossAwareReservoir()
        policy.bind(3, 0)
        for i in range(50):
            policy.propose(CandidateInfo(4, losses=torch.full((4,), float(i))))
        assert policy.state_dict()["losses"].min() > 0
        assert policy.state_dict()["losses"].dtype == torch.float64


def test_samples_enter_as_in_a_reservoir() -> None:
    capacity, n, n_trials = 8, 40, 250
    counts = torch.zeros(n, dtype=torch.float64)
    for seed in range(n_trials):
        policy = LossAwareReservoir()
        policy.bind(capacity, seed)
        for arrival in range(n):
            counts[arrival] += len(policy.propose(CandidateInfo(1, losses=losses_of(torch.tensor([arrival])))).slots)
    chance = capacity / (torch.arange(capacity, n) + 1.0)
    assert (counts[:capacity] == n_trials).all()
    deviations = (counts[capacity:] - n_trials * chance) ** 2 / (n_trials * chance * (1 - chance))
    assert chi_square_tail(float(deviations.sum()), n - capacity) > ALPHA


def test_hard_samples_prevail() -> None:
    buffer = RehearsalBuffer(20, policy=LossAwareReservoir())
    hard = torch.arange(2000) % 2
    for first in range(0, 2000, 10):
        rows = hard[first : first + 10]
        buffer.add({"hard": rows}, losses=rows + 0.01 * losses_of(torch.arange(10)))
    assert buffer.all()["hard"].sum() >= 15


def test_it_does_not_matter_how_the_stream_is_cut() -> None:
    kept = []
    for batch_size in (1, 7, 300):
        buffer = RehearsalBuffer(10, policy=LossAwareReservoir(), seed=2)
        for first in range(0, 300, batch_size):
            ids = torch.arange(first, min(first + batch_size, 300))
            buffer.add({"id": ids}, losses=losses_of(ids))
        kept.append(buffer.all()["id"].tolist())
    assert kept[0] == kept[1] == kept[2]
