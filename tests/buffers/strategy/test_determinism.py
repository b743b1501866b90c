"""What a run comes to follows from its seed, whether exchanges hide behind steps or not."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from tests.buffers.strategy.plain_modules import Stranger, loader_of, rank, stored, strategy_of, trainer_of
from tests.workers import TwoWorkers


class Outcome(NamedTuple):
    """What was trained on, what was stored, and the weights."""

    trained: list[list[int]]
    stored: list[int]
    weights: list[Tensor]


def outcome(options: dict[str, Any]) -> Outcome:
    """Train two passes over few samples with a buffer that is soon full."""
    module, strategy = Stranger(), strategy_of(**{"buffer_size": 11, "replay": 4, **options})
    trainer_of(strategy, max_epochs=2).fit(module, loader_of(range(100 * rank(), 100 * rank() + 18)))
    return Outcome(module.trained, stored(strategy), module.weights)


def same(a: Outcome, b: Outcome) -> bool:
    return a.trained == b.trained and a.stored == b.stored and all(map(torch.equal, a.weights, b.weights))


def test_same_seed_same_outcome_on_two_workers(two_workers: TwoWorkers) -> None:
    first, second, other = (two_workers.run(outcome, {"seed": seed}) for seed in (5, 5, 6))
    assert all(map(same, first, second))
    for a, b in zip(first, other, strict=True):
        assert a.trained != b.trained
        assert a.stored != b.stored


def test_same_seed_same_outcome_on_one_worker() -> None:
    first, second, other = (outcome({"seed": seed}) for seed in (5, 5, 6))
    assert same(first, second)
    assert same(first, outcome({"seed": 5, "overlap": False}))
    assert first.trained != other.trained
    assert first.stored != other.stored


def test_two_workers_draw_and_keep_differently(two_workers: TwoWorkers) -> None:
    first, second = two_workers.run(outcome, {})
    assert [ids[-4:] for ids in first.trained[2:]] != [ids[-4:] for ids in second.trained[2:]]
    assert first.stored != [i - 100 for i in second.stored]
