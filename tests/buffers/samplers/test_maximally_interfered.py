import pytest
import torch
from torch import Tensor

from redwood.buffers import MaximallyInterfered, RehearsalBuffer
from tests.buffers.helpers import fill, score
from tests.buffers.statistics import ALPHA, draw_p_value


def buffer_of(n: int, candidates: int) -> RehearsalBuffer:
    buffer = RehearsalBuffer(n, sampler=MaximallyInterfered(candidates), seed=1)
    fill(buffer, n)
    return buffer


@pytest.mark.parametrize(("candidates", "n"), [(10, 4), (10, 9), (200, 5), (1, 1)])
def test_the_highest_scores_of_the_candidates_are_drawn(candidates: int, n: int) -> None:
    buffer = buffer_of(100, candidates)
    on_replayed: list[Tensor] = []

    def rate(samples: dict[str, Tensor]) -> Tensor:
        on_replayed.append(samples["id"])
        return score(samples)

    for _ in range(20):
        on_replayed.clear()
        drawn = buffer.sample(n, rate=rate)
        (ids,) = on_replayed
        assert len(ids.unique()) == min(max(candidates, 2 * n), 100)
        best = ids[score({"id": ids}).argsort(descending=True)[:n]]
        assert drawn["id"].tolist() == best.tolist()


def test_all_rows_are_drawn_without_a_score() -> None:
    buffer = buffer_of(20, 5)

    def rate(samples: object) -> Tensor:
        raise AssertionError

    assert len(buffer.draw(20, rate=rate).unique()) == 20


def test_candidates_are_uniform() -> None:
    buffer = buffer_of(60, 12)
    counts = torch.zeros(60)

    def rate(samples: dict[str, Tensor]) -> Tensor:
        counts[samples["id"]] += 1
        return score(samples)

    for _ in range(600):
        buffer.draw(3, rate=rate)
    assert draw_p_value(counts, 12, 600) > ALPHA


def test_number_of_candidates() -> None:
    with pytest.raises(ValueError, match="candidates has to be at least 1, got 0"):
        MaximallyInterfered(0)
