"""Samples that move to other workers are as likely to be stored as all others."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from redwood.buffers import Policy, RehearsalBuffer
from tests.buffers.distributed.reshard_helpers import TOTAL, ids_of, maker, move, share_stream
from tests.buffers.statistics import ALPHA, draw_p_value, share_p_value, z_score


@pytest.mark.parametrize("policy", ["reservoir", "class_balanced", "per_class_random"])
@pytest.mark.few(1)
def test_less_room_is_shared_evenly(policy: str) -> None:
    n_trials, counts = 100, torch.zeros(TOTAL)
    for seed in range(n_trials):
        buffers = [maker(2, policy, seed=seed)(rank) for rank in range(2)]
        share_stream(buffers, torch.zeros(TOTAL, dtype=torch.int64), batch=12)
        (moved,) = move(buffers, maker(1, policy, total=12), 1)
        counts[moved.all()["id"]] += 1
    assert draw_p_value(counts, 12, n_trials) > ALPHA


class TestReservoir:
    """After 4 -> 2 -> 4 workers, with arrivals at each station, every one of them is as likely to be stored."""

    N, PER_STATION = 12, 48

    def trial(self, seed: int) -> Tensor:
        """Numbers of the samples stored in the end (12,), of 144."""

        def make(world: int) -> Callable[[int], RehearsalBuffer]:
            return lambda rank: RehearsalBuffer(self.N // world, seed=1000 * seed + rank)

        buffers = [make(4)(rank) for rank in range(4)]
        for station, world in enumerate([4, 2, 4]):
            if station:
                buffers = move(buffers, make(world), world)
            for rank, buffer in enumerate(buffers):
                ids = torch.arange(self.PER_STATION // world) * world + rank + station * self.PER_STATION
                buffer.add({"id": ids})
        return torch.tensor(ids_of(buffers))

    def p_value_and_scores(self, n_trials: int) -> tuple[float, list[float]]:
        stored = torch.stack([self.trial(seed) for seed in range(n_trials)])
        # One of each trial: these are independent, whatever is stored together.
        picks = torch.randint(0, self.N, (n_trials,), generator=torch.Generator().manual_seed(0))
        bins = (stored[torch.arange(n_trials), picks] // 12).bincount(minlength=12)
        phases = [((stored // self.PER_STATION) == station).sum(1) for station in range(3)]
        return share_p_value(bins, torch.ones(12)), [z_score(counts, self.N / 3) for counts in phases]

    @pytest.mark.slow
    def test_uniform(self) -> None:
        p, scores = self.p_value_and_scores(120)
        assert p > ALPHA
        assert max(map(abs, scores)) < 3.29

    @pytest.mark.slow
    def test_a_move_that_forgets_the_stream_is_found_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Policy, "resume", lambda policy, offer, others, share: policy.propose(offer))
        p, scores = self.p_value_and_scores(60)
        assert p < ALPHA
        assert max(map(abs, scores)) > 3.29
