"""What the parts of a step cost a worker, measured on one: the inputs of `scaling_model.py`."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from statistics import median
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
from common import Seconds

from redwood.buffers import SAMPLERS, PerClassRandom, RehearsalBuffer, RowLayout, RowStorage
from redwood.buffers.distributed.count_exchange import HEAD, CountTable, room_for
from redwood.buffers.distributed.peers import exchange_in_pairs, gather_in_rounds
from redwood.buffers.randomness import CounterRandom
from redwood.buffers.samplers.counts import Draws, GroupCounts

SHAPE, BATCH, CANDIDATES = (3, 224, 224), 56, 14
# Bytes of the storage that rows are measured in: many times what the caches hold.
STORAGE = 2**29
# A third of the 1,281,167 images of ImageNet is stored, over all workers.
STORED = 384_000
N_CLASSES = 1000
# Counts that change in a step, at most: a sample that is kept may take the slot of another class.
N_CHANGED = 2 * CANDIDATES
# Workers between which messages are measured: threads of this process.
MESSENGERS = 16


@dataclass(frozen=True)
class RowCosts:
    """Of rows in host memory.

    Attributes:
        stride: Bytes of a row.
        decide: Seconds to decide which samples of a batch are kept.
        write: Seconds to write a row.
        gather: Seconds to gather a row.
    """

    stride: int
    decide: float
    write: float
    gather: float


def measure_rows(rounds: int) -> RowCosts:
    """Times of storing a batch of images and labels, and of gathering rows."""
    samples = {"x": torch.zeros(BATCH, *SHAPE, dtype=torch.uint8), "y": torch.zeros(BATCH, dtype=torch.int64)}
    layout = RowLayout.of(samples)
    capacity = STORAGE // layout.stride
    storage = RowStorage(layout, capacity)
    for slots in torch.arange(capacity).split(BATCH):  # memory is there only once it was written to
        storage.write(slots, {name: leaf[: len(slots)] for name, leaf in samples.items()})
    random = torch.Generator().manual_seed(0)
    some = [torch.randperm(capacity, generator=random)[:CANDIDATES] for _ in range(rounds)]
    kept, leaves = torch.arange(0, BATCH, BATCH // CANDIDATES), list(samples.values())
    there = storage.rows_like(CANDIDATES).rows
    policy = RehearsalBuffer(capacity, policy=PerClassRandom(CANDIDATES))
    labels = torch.randint(N_CLASSES, (rounds + 200, BATCH), generator=random)
    offers = [policy.candidate_info({"y": one}) for one in labels]
    for offer in offers[rounds:]:  # the buffer is full before it is measured
        policy.propose(offer)
    return RowCosts(
        layout.stride,
        _median([_timed(partial(policy.propose, offer)) for offer in offers[:rounds]]),
        _median([_timed(partial(storage.write_leaves, slots, leaves, kept)) for slots in some]) / CANDIDATES,
        _median([_timed(partial(storage.gather, slots, there)) for slots in some]) / CANDIDATES,
    )


def group_counts_of(workers: int, n_groups: int) -> GroupCounts:
    """Workers that store equally many rows of equally large groups."""
    counts = torch.full((workers, n_groups), max(1, STORED // workers // n_groups))
    return GroupCounts(torch.arange(n_groups), counts, torch.full((workers,), -1))


def ticket_bytes(n_changed: int) -> int:
    """Bytes that a worker sends to each other one if so many of its counts may change in a step."""
    return 8 * (HEAD + 2 * room_for(n_changed))


def measure_plan(sampler: str, workers: int, replay: int, rounds: int) -> tuple[float, list[Draws]]:
    """Seconds that a worker takes to find its part of a plan, and the draws of all workers in each round."""
    group_counts = group_counts_of(workers, N_CLASSES if sampler == "class_balanced" else 1)
    random, times, draws = CounterRandom(0, "shared draws"), [], []
    for step in range(-1, rounds):
        start = Seconds.now()
        SAMPLERS[sampler].part(random, max(step, 0), replay, group_counts, workers // 2)
        if step >= 0:
            times.append(Seconds.now().since(start).cpu)
            draws.append(SAMPLERS[sampler].plan(random, step, replay, group_counts))
    return median(times), draws


def measure_messages(rounds: int) -> dict[str, float]:
    """CPU seconds per worker: of gloo's collectives, and of the messages that take their place, for tiny exchanges.

    `all_gather` (of counts) and `all_to_all` (of no rows) per peer, `round` per round of counts, and `message` per peer
    that a row is exchanged with.

    Each worker is a thread of this process with sockets of its own, so that other programs that are running, and how
    many processors there are, hardly change what is counted.
    """
    peers, n_rounds = MESSENGERS - 1, (MESSENGERS - 1).bit_length()
    parts = {"all_gather": peers, "all_to_all": peers, "round": n_rounds, "message": peers}
    return {name: _messages(name, rounds) / n for name, n in parts.items()}


def measure_copying(workers: int, n_changed: int, rounds: int) -> float:
    """CPU seconds in which a worker puts together the counts of all others that it hears round by round."""
    ticket = torch.zeros(ticket_bytes(n_changed) // 8, dtype=torch.int64)
    done = SimpleNamespace(wait=lambda: True)
    nobody: Any = None
    with mock.patch.object(dist, "irecv", return_value=done), mock.patch.object(dist, "isend", return_value=done):
        return _median([_timed(partial(gather_in_rounds, ticket, 0, workers, nobody)) for _ in range(rounds)])


def measure_reading(workers: int, n_changed: int, rounds: int) -> float:
    """CPU seconds in which a worker finds out what all workers store of all classes, once it has the changes.

    Each worker changes some classes of its own in each step.
    """
    table = CountTable(workers)
    table.update(_tickets(workers, N_CLASSES, 0))
    steps = [_tickets(workers, n_changed, 1 + number) for number in range(rounds)]
    return _median([_timed(partial(table.update, changes)) for changes in steps])


def _tickets(workers: int, n_groups: int, seed: int) -> torch.Tensor:
    """Messages of workers that each have some rows of so many of all classes, drawn at random for each."""
    random = torch.Generator().manual_seed(seed)
    tickets = torch.ones(workers, ticket_bytes(n_groups) // 8, dtype=torch.int64)
    tickets[:, 3] = n_groups
    groups, counts = (tickets[:, HEAD + place : HEAD + 2 * n_groups : 2] for place in (0, 1))
    groups.copy_(torch.rand(workers, N_CLASSES, generator=random).argsort(dim=1)[:, :n_groups])
    counts.copy_(torch.randint(1, 100, counts.shape, generator=random))
    return tickets


def _messages(name: str, rounds: int) -> float:
    store = dist.HashStore()  # type: ignore[attr-defined]
    together = threading.Barrier(MESSENGERS + 1)

    def work(rank: int) -> None:
        group: Any = dist.ProcessGroupGloo(store, rank, MESSENGERS, timedelta(seconds=60))
        ticket, nothing = torch.zeros(6, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)
        everyone = torch.zeros(6 * MESSENGERS, dtype=torch.int64)
        sent, received = torch.zeros(2, MESSENGERS - 1, 1, dtype=torch.int64)
        splits = [int(peer != rank) for peer in range(MESSENGERS)]
        for number in range(-2, rounds):
            if number in (0, rounds):
                together.wait()
            if name == "all_gather":
                group._allgather_base(everyone, ticket).wait()
            elif name == "round":
                gather_in_rounds(ticket, rank, MESSENGERS, group)
            elif name == "message":
                exchange_in_pairs(received, sent, splits, splits, group)
            else:
                group.alltoall_base(nothing.clone(), nothing, [0] * MESSENGERS, [0] * MESSENGERS).wait()
        together.wait()

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(MESSENGERS)]
    for thread in threads:
        thread.start()
    together.wait()
    start = Seconds.now()
    together.wait()
    taken = Seconds.now().since(start).cpu
    for thread in threads:
        thread.join()
    return taken / rounds / MESSENGERS


def _timed(work: Callable[[], object]) -> float:
    start = Seconds.now()
    work()
    return Seconds.now().since(start).cpu


def _median(times: list[float]) -> float:
    return median(times[len(times) // 10 :])
