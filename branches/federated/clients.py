"""The mini-batches of a phase whose samples lie with clients, some of which train in each round."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
from torch import Tensor
from typing_extensions import override

from redwood.core.seeding import generator
from redwood.settings.batch import Batch, BatchId, Turn
from redwood.settings.data.entries import Entries
from redwood.settings.streams.batches import BatchSequence, Source
from redwood.settings.streams.order import batch_cuts


@dataclass(frozen=True)
class Schedule:
    """The clients that train in each round, and their workers.

    Attributes:
        rounds: The clients of each round, ascending.
        local_passes: How often a client goes through its samples in a round.
        whole_clients: Whether client c trains on worker c % W alone, of W workers. Workers that are done then wait
            until the round is over. Otherwise all workers share each batch of a client.
    """

    rounds: Sequence[Sequence[int]]
    local_passes: int
    whole_clients: bool


def draw_rounds(holders: Sequence[int], n: int, n_rounds: int, seed: int) -> list[list[int]]:
    """The clients of each round: n of the `holders` of samples, or all if there are fewer, drawn anew each time."""
    drawn = (torch.randperm(len(holders), generator=generator(seed, "clients", number)) for number in range(n_rounds))
    return [sorted(holders[place] for place in places[:n].tolist()) for places in drawn]


class _Visit(NamedTuple):
    """Consecutive steps of a worker: a pass over the samples of a client, or a wait for others (`client` is None)."""

    round: int
    client: int | None
    local_pass: int
    n_steps: int


class ClientSequence(BatchSequence):
    """The mini-batches of one worker, each of one client.

    There is one epoch, which holds all rounds. In a round each of its clients goes `local_passes` times through its
    samples, shuffled anew each time. `spans` are the batches that present samples for the first time.
    """

    def __init__(
        self,
        source: Source,
        parts: Mapping[int, Entries],
        batch_size: int,
        schedule: Schedule,
        *,
        seed: int,
        show_ids: bool,
        rank: int = 0,
        workers: int = 1,
    ) -> None:
        """Cut the samples of each client into batches.

        Args:
            source: The samples and labels.
            parts: The samples of each client of the schedule.
            batch_size: Samples per batch of one worker.
            schedule: The clients that train in each round.
            seed: Seed of the shuffling.
            show_ids: Whether batches carry task ids.
            rank: Number of this worker.
            workers: Number of workers.
        """
        entries, passes = Entries.concatenate(list(parts.values())), len(schedule.rounds) * schedule.local_passes
        super().__init__(source, entries, batch_size, passes=passes, shuffle=True, seed=seed, show_ids=show_ids)
        self._schedule, self._rank, self._workers = schedule, rank, workers
        self._sizes = {client: len(entries) for client, entries in parts.items()}
        self._offsets = dict(zip(parts, accumulate(self._sizes.values(), initial=0), strict=False))
        # Worker `place` of `shared_by` workers takes part in each client's batches.
        self._place, self._shared_by = (0, 1) if schedule.whole_clients else (rank, workers)
        if schedule.whole_clients:
            self._owners = torch.tensor([client % workers for client, n in self._sizes.items() for _ in range(n)])
        cuts = {client: batch_cuts(n, batch_size, self._shared_by).tolist() for client, n in self._sizes.items()}
        self._client_cuts = cuts
        self._n_steps = {client: (len(own) - 1) // self._shared_by for client, own in cuts.items()}
        self._order_of_visit, self._visit = torch.empty(0, dtype=torch.long), -1
        self._plan()

    def _plan(self) -> None:
        """Lay out the steps of this worker, and those of them that present samples for the first time."""
        rounds = [self._visits(number, self._rank) for number in range(len(self._schedule.rounds))]
        self._all_visits = [visit for visits in rounds for visit in visits]
        self._starts = list(accumulate((visit.n_steps for visit in self._all_visits), initial=0))
        self._round_ends = set(accumulate(sum(visit.n_steps for visit in visits) for visits in rounds))
        self.epochs, self.length = 1, self._starts[-1]
        self._first_visits: dict[int, int] = {}
        for number, visit in enumerate(self._all_visits):
            if visit.client is not None:
                self._first_visits.setdefault(visit.client, number)
        batches: list[Tensor] = []
        self._first_at: list[int] = []
        self._first_spans: dict[int, int] = {}
        for client, number in self._first_visits.items():
            self._first_spans[client] = len(batches)
            batches += [self._samples_of(number, step) for step in range(self._n_steps[client])]
            self._first_at += range(self._starts[number], self._starts[number + 1])
        self._first = torch.cat([*batches, torch.empty(0, dtype=torch.long)])
        stops = list(accumulate(map(len, batches), initial=0))
        # Scores of workers are added up batch by batch, so all workers count as many.
        missing = self._most_first_batches() - len(batches)
        self.spans = [*pairwise(stops), *[(stops[-1], stops[-1])] * missing]

    def _clients_of(self, clients: Iterable[int], worker: int) -> list[int]:
        """Return the clients that train on a worker."""
        if not self._schedule.whole_clients:
            return list(clients)
        return [client for client in clients if client % self._workers == worker]

    def _visits(self, number: int, worker: int) -> list[_Visit]:
        """The visits of a worker in a round; all workers take as many steps."""
        schedule, clients = self._schedule, self._schedule.rounds[number]
        own = [
            _Visit(number, client, local_pass, self._n_steps[client])
            for client in self._clients_of(clients, worker)
            for local_pass in range(schedule.local_passes)
        ]
        steps = [
            sum(self._n_steps[client] for client in self._clients_of(clients, other)) * schedule.local_passes
            for other in range(self._workers)
        ]
        missing = max(steps) - steps[worker]
        return own + [_Visit(number, None, 0, missing)] * bool(missing)

    def _most_first_batches(self) -> int:
        clients = {client for clients in self._schedule.rounds for client in clients}
        return max(
            sum(self._n_steps[client] for client in self._clients_of(clients, worker))
            for worker in range(self._workers)
        )

    def _samples_of(self, number: int, step: int) -> Tensor:
        """The samples of a batch (n,), as indices, from the number of the visit and of the step within it."""
        visit = self._all_visits[number]
        if visit.client is None:
            return torch.empty(0, dtype=torch.long)
        if self._visit != number:
            random = generator(self._seed, "client order", visit.round, visit.client, visit.local_pass)
            drawn = torch.randperm(self._sizes[visit.client], generator=random)
            self._order_of_visit, self._visit = self._offsets[visit.client] + drawn, number
        cuts, cut = self._client_cuts[visit.client], step * self._shared_by + self._place
        return self._order_of_visit[cuts[cut] : cuts[cut + 1]]

    @override
    def next_batch(self) -> Batch:
        self._tell_observers()
        place, index = self.next, self._places_of(self.next)
        number = bisect_right(self._starts, place) - 1
        visit, step = self._all_visits[number], place - self._starts[number]
        self.first_pass = visit.client is not None and self._first_visits[visit.client] == number
        turn = self._turn(visit, step)
        self._advance(len(index))
        span = 0 if visit.client is None else self._first_spans[visit.client] + step
        self.batch_id = BatchId(self.number, span, self.first_pass, turn)
        return self._batch_of(index, place).with_id(self.batch_id)

    @override
    def peek(self, step: int) -> Batch:
        return self._batch_of(self._places(step))

    @property
    @override
    def _number(self) -> int:
        return self.next

    @property
    @override
    def _number_of_batches(self) -> int:
        return self.length

    @override
    def _places_of(self, number: int) -> Tensor:
        visit = bisect_right(self._starts, number) - 1
        return self._samples_of(visit, number - self._starts[visit])

    def _turn(self, visit: _Visit, step: int) -> Turn:
        """Return the turn of the batch that comes next."""
        ends_round = self.next + 1 in self._round_ends
        if visit.client is None:
            return Turn(visit.round, None, 0, ends=False, ends_round=ends_round)
        ends = visit.local_pass == self._schedule.local_passes - 1 and step == visit.n_steps - 1
        return Turn(visit.round, visit.client, self._sizes[visit.client], ends, ends_round)

    @override
    def _order_in(self, epoch: int) -> Tensor:
        return self._first

    @property
    @override
    def steps_shown(self) -> int:
        return len(self._first_at) if self.epoch else bisect_left(self._first_at, self.next)
