"""Messages between pairs of workers bring what gloo's collectives bring, and tell of a lost worker as these do."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any
from unittest import mock

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from redwood.buffers import AsyncRehearsalBuffer
from redwood.buffers.distributed import peers
from redwood.buffers.distributed.peers import exchange_in_pairs, gather_in_rounds
from tests.buffers.distributed.recorder import Record, record, samples
from tests.buffers.distributed.streams import count, ragged
from tests.buffers.strategy.kill_runs import says_that_a_worker_is_lost
from tests.process_harness import Doomed
from tests.workers import GlooWorkers

WORLDS = (3, 8)
WIDTHS = (1, 6, 20, 2052)
# Of the pairs of workers, how many have rows for each other; twice each, so that exchanges follow on equal ones.
SHARES = (0.0, 0.2, 0.2, 0.5, 1.0, 1.0, 0.0, 0.5)
ROW = 5
SHORT_S = 8
# What a process takes to end once it knows, on a machine that does a lot else.
SLACK_S = 10


def message_of(rank: int, width: int) -> Tensor:
    return torch.randint(2**62, (width,), generator=torch.Generator().manual_seed(1000 * rank + width))


def splits_of(world: int, number: int) -> Tensor:
    """Rows from each worker to each other one (N, N); what it draws from itself a worker never sends."""
    random = torch.Generator().manual_seed(number)
    splits = torch.randint(1, 9, (world, world), generator=random)
    splits[torch.rand(world, world, generator=random) >= SHARES[number]] = 0
    return splits.fill_diagonal_(0)


Gather = Callable[[Tensor], Tensor]
Exchange = Callable[[Tensor, Tensor, list[int], list[int]], object]


def all_exchanges(gather: Gather, exchange: Exchange) -> tuple[list[Tensor], list[Tensor]]:
    """What this worker hears and receives; nothing holds workers together between one exchange and the next."""
    rank, world = dist.get_rank(), dist.get_world_size()
    heard, arrived = [], []
    for number in range(len(SHARES)):
        heard.append(gather(message_of(rank, WIDTHS[number % len(WIDTHS)])))
        splits = splits_of(world, number)
        sent = torch.arange(int(splits[rank].sum()) * ROW).view(-1, ROW) + 10_000 * rank + 1000 * number
        received = torch.full((int(splits[:, rank].sum()), ROW), -1)
        exchange(received, sent, splits[:, rank].tolist(), splits[rank].tolist())
        arrived.append(received)
    return heard, arrived


def by_messages() -> tuple[list[Tensor], list[Tensor]]:
    group = dist.group.WORLD
    assert group
    rank, world = dist.get_rank(), dist.get_world_size()
    return all_exchanges(
        partial(gather_in_rounds, rank=rank, world=world, group=group), partial(exchange_in_pairs, group=group)
    )


def by_collectives() -> tuple[list[Tensor], list[Tensor]]:
    def gather(message: Tensor) -> Tensor:
        everyone = [torch.empty_like(message) for _ in range(dist.get_world_size())]
        dist.all_gather(everyone, message)
        return torch.stack(everyone)

    return all_exchanges(gather, dist.all_to_all_single)


@pytest.mark.parametrize("world", WORLDS)
def test_messages_bring_what_collectives_bring(gloo_workers: GlooWorkers, world: int) -> None:
    answers = gloo_workers.run(world, by_messages), gloo_workers.run(world, by_collectives)
    for (heard, arrived), (told, sent) in zip(*answers, strict=True):
        assert len(heard) == len(arrived) == len(SHARES)
        assert all(map(torch.equal, heard, told))
        assert all(map(torch.equal, arrived, sent))
    for number, messages in enumerate(answers[0][0][0]):
        width = WIDTHS[number % len(WIDTHS)]
        assert torch.equal(messages, torch.stack([message_of(rank, width) for rank in range(world)]))


@contextmanager
def messages_only() -> Iterator[None]:
    """Take the collectives of a step apart for any number of workers, and refuse them."""
    refused = mock.Mock(side_effect=AssertionError("a collective is called"))
    with (
        mock.patch.object(peers, "MANY", 2),
        mock.patch.object(dist, "all_gather_into_tensor", refused),
        mock.patch.object(dist, "all_to_all_single", refused),
    ):
        yield


def record_by_messages(*args: Any) -> Record:
    with messages_only():
        return record(*args)


@pytest.mark.parametrize("sampler", ["uniform", "class_balanced"])
def test_draws_are_the_same_by_messages(gloo_workers: GlooWorkers, sampler: str) -> None:
    offered = ragged(4, 40)
    labels = torch.arange(count(offered)) % 12
    options = {"buffer_size": 45, "replay": 7, "sampler": sampler}
    runs = [gloo_workers.run(4, job, options, labels, offered) for job in (record, record_by_messages)]
    for one, other in zip(*runs, strict=True):
        assert len(one.drawn[-1]) == 7
        assert all(map(torch.equal, one.drawn, other.drawn))
        assert all(map(torch.equal, one.stored, other.stored))
        assert one.weights == other.weights


def test_collectives_are_for_few_workers_and_messages_for_many(gloo_workers: GlooWorkers) -> None:
    assert peers.MANY > 4
    with pytest.raises(AssertionError, match="a collective is called"):
        gloo_workers.run(4, refuse_collectives)


def refuse_collectives() -> None:
    few = peers.MANY
    with messages_only(), mock.patch.object(peers, "MANY", few):
        record({"buffer_size": 8, "replay": 2}, torch.zeros(8).long(), [[range(2 * n, 2 * n + 2)] for n in range(4)])


def replay_for_ever(rank: int, world: int, tell: Callable[[Any], None]) -> None:
    labels = torch.zeros(8 * world).long()
    ids = torch.arange(8 * rank, 8 * rank + 8)
    with messages_only():
        memory = AsyncRehearsalBuffer(8 * world, replay=2)
        memory.open(timeout=timedelta(seconds=SHORT_S))
        for step in range(10**9):
            memory.collect()
            memory.add(samples(ids, labels))
            memory.weight()
            if step == 3:
                tell("running")


@pytest.mark.parametrize(("world", "blow"), [(4, Doomed.kill), (3, Doomed.stop)], ids=["killed", "stopped"])
@pytest.mark.few(1)
def test_a_worker_is_lost(world: int, blow: Callable[[Doomed, int], None]) -> None:
    """Of six workers, the fourth from the one that is killed never hears from it, but from those that do."""
    with Doomed(world, replay_for_ever) as processes:
        processes.hear()
        blow(processes, 1)
        fates = processes.fates()
    assert len(fates) == world - 1
    for fate in fates.values():
        assert says_that_a_worker_is_lost(fate), fate
        assert fate.seconds < 2 * SHORT_S + SLACK_S
