"""Every draw is from what is stored, and every leaf of a sample arrives with the others, wherever it was kept."""

from pathlib import Path
from typing import Any

import pytest
import torch

from redwood.buffers import TIERS
from tests.buffers.distributed.checks import union_at
from tests.buffers.distributed.recorder import Record, record
from tests.buffers.distributed.streams import count, filling, ragged
from tests.workers import GlooWorkers

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
# Where rows are kept, and where training is.
PLACES = [
    ("host", "cpu"),
    ("mmap", "cpu"),
    *(pytest.param(tier, "cuda", marks=needs_cuda) for tier in ("auto", *TIERS)),
]
WORLDS = (2, 4, 8)


def live(workers: GlooWorkers, world: int, n_steps: int = 60, device: str = "cpu", **options: Any) -> list[Record]:
    """A stream of uneven batches, some of them empty, on each worker; `record` looks at each leaf."""
    offered = ragged(world, n_steps)
    labels = torch.arange(count(offered)) % 6
    return workers.run(world, record, {"buffer_size": 45, "replay": 7} | options, labels, offered, device)


def check(records: list[Record], replay: int) -> None:
    """Distinct samples, of those that are stored; as many as asked for as soon as there are."""
    assert not any(len(found.drawn[0]) for found in records)
    for step in range(1, len(records[0].drawn)):
        union = union_at(records, step)
        assert len(union.unique()) == len(union)
        for found in records:
            ids = found.drawn[step]
            assert len(ids.unique()) == len(ids) == min(replay, len(union))
            assert torch.isin(ids, union).all()


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("policy", ["reservoir", "class_balanced", "ring"])
@pytest.mark.few(2)
def test_draws_are_of_what_all_workers_store(gloo_workers: GlooWorkers, world: int, policy: str) -> None:
    check(live(gloo_workers, world, policy=policy), 7)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.few(1)
def test_samples_can_be_drawn_in_the_next_step(gloo_workers: GlooWorkers, world: int) -> None:
    """With more representatives than samples every draw shows all that is stored, so nothing lags behind."""
    records = live(gloo_workers, world, replay=100)
    check(records, 100)
    came = set().union(*(found.drawn[1].tolist() for found in records))
    assert len(came) == sum(min(found.incoming[0], found.capacity) for found in records) > 0


@pytest.mark.parametrize(("tier", "device"), PLACES)
def test_leaves_stay_together_in_every_tier(gloo_workers: GlooWorkers, tier: str, device: str, tmp_path: Path) -> None:
    check(live(gloo_workers, 2, tier=tier, directory=str(tmp_path), device=device), 7)


def test_weights_make_the_mean_over_workers_one_over_samples(gloo_workers: GlooWorkers) -> None:
    records = live(gloo_workers, 4)
    for step in range(60):
        sizes = [found.incoming[step] + len(found.drawn[step]) for found in records]
        for n, found in zip(sizes, records, strict=True):
            assert found.weights[step] == pytest.approx(4 * n / sum(sizes))
    assert len({found.weights[0] for found in records}) > 1


def test_workers_that_never_have_a_sample_draw_those_of_others(gloo_workers: GlooWorkers) -> None:
    offered = filling([0, 20, 0, 0], 10)
    records = gloo_workers.run(4, record, {"buffer_size": 80, "replay": 7}, torch.zeros(20).long(), offered)
    check(records, 7)
    assert all(len(found.drawn[-1]) == 7 for found in records)


def test_one_worker_without_a_process_group() -> None:
    offered = ragged(1, 60)
    alone = record({"buffer_size": 30, "replay": 7}, torch.zeros(count(offered)).long(), offered)
    check([alone], 7)
    assert set(alone.weights) == {1.0}
