"""How the buffer is shared over workers and classes (T7)."""

import pytest

from redwood.buffers import PerClassRandom
from tests.buffers.distributed.checks import union_at
from tests.buffers.distributed.recorder import record
from tests.buffers.distributed.streams import count, in_tasks, ragged
from tests.workers import GlooWorkers

N_STEPS, N_CLASSES = 90, 12


@pytest.mark.parametrize("world", [2, 4, 8])
@pytest.mark.parametrize("buffer_size", [48, 101])
@pytest.mark.few(2)
def test_each_worker_has_its_share(gloo_workers: GlooWorkers, world: int, buffer_size: int) -> None:
    offered = ragged(world, N_STEPS)
    labels = in_tasks(count(offered), N_CLASSES)
    records = gloo_workers.run(world, record, {"buffer_size": buffer_size, "replay": 3}, labels, offered)
    capacities = [found.capacity for found in records]
    assert sum(capacities) == buffer_size
    assert max(capacities) - min(capacities) <= 1
    for found in records:
        seen = 0
        for stored, incoming in zip(found.stored, found.incoming, strict=True):
            assert len(stored) == min(seen, found.capacity)
            seen += incoming
    assert len(union_at(records, N_STEPS - 1)) == buffer_size


@pytest.mark.parametrize("kind", ["quota", "candidates"])
def test_the_rule_of_the_paper(gloo_workers: GlooWorkers, kind: str) -> None:
    """A fixed quota is never exceeded; candidates without one choose the same policy."""
    chosen = {"policy": PerClassRandom(2, quota=5)} if kind == "quota" else {"candidates": 2}
    quota = 5 if kind == "quota" else 120 // 2 // N_CLASSES
    offered = ragged(2, N_STEPS)
    labels = in_tasks(count(offered), N_CLASSES)
    for found in gloo_workers.run(2, record, {"buffer_size": 120, "replay": 3} | chosen, labels, offered):
        sizes = [labels[stored].bincount(minlength=N_CLASSES) for stored in found.stored]
        assert sizes[-1].tolist() == [quota] * N_CLASSES
        assert kind == "candidates" or max(int(size.max()) for size in sizes) == quota
