import pytest
import torch
from torch import Tensor

from redwood.buffers import SAMPLERS, GreedyBalanced, RehearsalBuffer
from redwood.buffers.randomness import CounterRandom
from redwood.buffers.samplers.counts import GroupCounts
from redwood.buffers.samplers.exchange_plan import ExchangePlan, exchange_plan
from redwood.buffers.samplers.global_sampling import FEW
from tests.buffers.helpers import feed
from tests.buffers.samplers.all_workers import group_counts_of, planned, rows_of

SHARED = [name for name, sampler in SAMPLERS.items() if sampler.shared]
# Labels of what each worker stores, two classes a task; one worker is empty.
LABELS = [[0, 0, 5, 3, 3, 2] * 4, [], [5] * 9 + [1, 2], [0, 3]]


def buffers(sampler: str) -> list[RehearsalBuffer]:
    """One of each worker; samples are numbered through."""
    found, start = [], 0
    for labels in LABELS:
        buffer = RehearsalBuffer(max(len(labels), 1), policy=GreedyBalanced(), sampler=sampler)
        feed(buffer, torch.tensor(labels, dtype=torch.int64), start=start)
        start += len(labels)
        found.append(buffer)
    return found


def shared_inventory(parts: list[RehearsalBuffer]) -> GroupCounts:
    """What the workers would tell each other."""
    told = [buffer.sampler.group_counts(len(buffer)) for buffer in parts]
    groups = sorted(set().union(*told))
    counts = torch.tensor([[sizes.get(group, 0) for group in groups] for sizes in told], dtype=torch.int64)
    current = torch.tensor([buffer.sampler.current for buffer in parts])
    return GroupCounts(torch.tensor(groups, dtype=torch.int64), counts, current)


def ids_of(buffer: RehearsalBuffer, groups: Tensor, numbers: Tensor) -> Tensor:
    assert groups.dtype == numbers.dtype == torch.int64
    if not len(numbers):
        return torch.empty(0, dtype=torch.int64)
    slots = buffer.sampler.locate(groups, numbers)
    assert torch.equal(buffer.sampler.locate(groups.tolist(), numbers), slots)
    return buffer.read(slots)["id"]  # type: ignore[no-any-return]


def exchanged(parts: list[RehearsalBuffer], plans: list[ExchangePlan]) -> list[list[int]]:
    """Numbers of the samples that each worker ends up with, if rows are sent as planned."""
    sent = [
        ids_of(buffer, plan.send_groups, plan.send_numbers).split(plan.send_splits)
        for buffer, plan in zip(parts, plans, strict=True)
    ]
    got = []
    for rank, plan in enumerate(plans):
        assert [len(rows[rank]) for rows in sent] == plan.recv_splits
        own = ids_of(parts[rank], plan.own_groups, plan.own_numbers)
        got.append(torch.cat([*(rows[rank] for rows in sent), own]).tolist())
    return got


@pytest.mark.parametrize("name", SHARED)
@pytest.mark.parametrize("n", [1, 7, 36, 50])
class TestPartsFitTogether:
    def test_everyone_gets_distinct_samples_that_it_may_draw(self, name: str, n: int) -> None:
        parts, random = buffers(name), CounterRandom(1, "test")
        group_counts = shared_inventory(parts)
        labels = torch.tensor([label for mine in LABELS for label in mine])
        for step in range(10):
            draws = SAMPLERS[name].plan(random, step, n, group_counts)
            plans = [exchange_plan(draws, rank, 4) for rank in range(4)]
            for rank, ids in enumerate(exchanged(parts, plans)):
                current = parts[rank].sampler.current
                n_choices = int((labels // 2 != current).sum()) if name == "old_tasks" else len(labels)
                assert len(ids) == len(set(ids)) == min(n, n_choices) == int(plans[rank].drawn[rank])
                assert name != "old_tasks" or current not in (labels[ids] // 2).tolist()
                assert plans[rank].send_splits[rank] == plans[rank].recv_splits[rank] == 0


@pytest.mark.parametrize("name", SHARED)
def test_all_rows_are_what_the_draws_say(name: str) -> None:
    """Counted the slow way, row by row."""
    group_counts = group_counts_of([[13, 4, 0], [0, 0, 0], [7, 0, 9], [0, 1, 2], [30, 2, 2]], current=12)
    for draws in planned(SAMPLERS[name], group_counts, 11, 5):
        rows = rows_of(draws.counts)
        worker = torch.arange(5).repeat_interleave(draws.drawn)
        owner, group, number = (column[draws.rows.long()] for column in rows)
        for rank in range(5):
            plan = exchange_plan(draws, rank, 5)
            sent = (owner == rank) & (worker != rank)
            assert torch.equal(plan.send_groups, group[sent] + 10)
            assert torch.equal(plan.send_numbers, number[sent])
            assert plan.send_splits == worker[sent].bincount(minlength=5).tolist()
            assert plan.recv_splits == owner[(worker == rank) & (owner != rank)].bincount(minlength=5).tolist()
            own = (owner == rank) & (worker == rank)
            assert torch.equal(plan.own_groups, group[own] + 10)
            assert torch.equal(plan.own_numbers, number[own])
            assert torch.equal(plan.drawn, draws.drawn)


@pytest.mark.parametrize("name", SHARED)
def test_one_worker_alone_takes_all_from_itself(name: str) -> None:
    buffer = RehearsalBuffer(30, sampler=name)
    feed(buffer, torch.arange(30) // 6)
    draws = SAMPLERS[name].plan(CounterRandom(0), 3, 8, shared_inventory([buffer]))
    plan = exchange_plan(draws, 0, 1)
    assert (plan.send_splits, plan.recv_splits) == ([0], [0])
    assert len(set(ids_of(buffer, plan.own_groups, plan.own_numbers).tolist())) == 8


@pytest.mark.parametrize("name", SHARED)
def test_nothing_is_stored(name: str) -> None:
    parts = [RehearsalBuffer(5, sampler=name) for _ in range(2)]
    group_counts = shared_inventory(parts)
    assert group_counts.counts.sum() == 0
    plan = exchange_plan(SAMPLERS[name].plan(CounterRandom(0), 0, 4, group_counts), 1, 2)
    assert [len(plan.send_numbers), len(plan.own_numbers), *plan.drawn.tolist()] == [0, 0, 0, 0]
    assert plan.send_splits == plan.recv_splits == [0, 0]


def random_counts(generator: torch.Generator, n_groups: int) -> tuple[GroupCounts, int]:
    """Workers with any numbers of rows, some of them with none, and a number of draws."""

    def below(n: int) -> int:
        return int(torch.randint(n, (1,), generator=generator))

    world, most = 1 + below(40), (2, 30, 600)[below(3)]
    counts = torch.randint(most, (world, n_groups), generator=generator)
    counts[torch.rand(world, generator=generator) < 0.2] = 0
    tasks = torch.full((world,), 10 + below(n_groups + 1))
    if below(4) == 0:
        tasks = torch.randint(10, 11 + n_groups, (world,), generator=generator)
    return GroupCounts(torch.arange(n_groups) + 10, counts, tasks), 1 + below(120)


@pytest.mark.parametrize("name", SHARED)
def test_a_part_of_its_own_is_that_of_the_whole_plan(name: str) -> None:
    """Workers plan their own parts where all of them draw many rows; what one sends is what the other one expects."""
    generator, random = torch.Generator().manual_seed(0), CounterRandom(0, "test")
    kinds = set()
    for step in range(60):
        group_counts, n = random_counts(generator, 1 if name == "uniform" else (3, 150)[step % 2])
        world, total = len(group_counts.counts), int(group_counts.counts.sum())
        kinds.add((world * n > FEW, world * n <= total))
        parts = [SAMPLERS[name].part(random, step, n, group_counts, rank) for rank in range(world)]
        draws = SAMPLERS[name].plan(random, step, n, group_counts)
        for rank, part in enumerate(parts):
            whole = exchange_plan(draws, rank, world)
            assert (part.send_splits, part.recv_splits) == (whole.send_splits, whole.recv_splits)
            assert part.recv_splits == [other.send_splits[rank] for other in parts]
            for mine, wanted in zip(part, whole, strict=True):
                assert isinstance(mine, list) or torch.equal(mine, wanted)  # type: ignore[arg-type]
    assert len(kinds) == 4


@pytest.mark.parametrize("name", SHARED)
def test_a_part_is_that_of_the_whole_plan_where_one_worker_stores_most(name: str) -> None:
    """The worker that stores more rows than are drawn plans all draws, and the others their own parts alone."""
    counts = torch.tensor([[5000], [10], [0], [700], [2000]]).expand(5, 1 if name == "uniform" else 3)
    group_counts = GroupCounts(torch.arange(counts.shape[1]) + 10, counts.contiguous(), torch.full((5,), 12))
    n, random = FEW // 4, CounterRandom(0, "test")
    assert counts[0, 0] > 5 * n > FEW
    for step in range(3):
        draws = SAMPLERS[name].plan(random, step, n, group_counts)
        for rank in range(5):
            part, whole = SAMPLERS[name].part(random, step, n, group_counts, rank), exchange_plan(draws, rank, 5)
            for mine, wanted in zip(part, whole, strict=True):
                assert mine == wanted if isinstance(mine, list) else torch.equal(mine, wanted)  # type: ignore[arg-type]
