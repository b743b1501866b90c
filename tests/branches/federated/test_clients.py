import itertools

import pytest
import torch

from redwood.branches.federated.clients import ClientSequence, Schedule, draw_rounds
from redwood.core.errors import HiddenError
from redwood.settings.data.entries import Entries
from redwood.settings.streams.batches import Source
from redwood.settings.streams.loader import BatchLoader
from tests.buffers.statistics import ALPHA, share_p_value

SIZES = {0: 9, 2: 1, 3: 17, 5: 4}
LARGER = {client: max(n, 4) for client, n in SIZES.items()}
ROUNDS = [[0, 3], [2, 3], [0, 2, 5], [5]]


def made(rank=0, workers=1, whole=True, rounds=ROUNDS, sizes=SIZES, local_passes=2, batch_size=4):
    """Batches of clients whose samples are numbered in the order of the clients; the label is the client."""
    clients = [client for client, n in sizes.items() for _ in range(n)]
    rows = torch.arange(len(clients))
    source = Source(rows[:, None].float(), torch.tensor(clients).double(), [])
    entries = Entries(rows, torch.zeros_like(rows))
    starts = [0, *itertools.accumulate(sizes.values())]
    parts = {
        client: entries[torch.arange(start, start + n)]
        for (client, n), start in zip(sizes.items(), starts, strict=False)
    }
    schedule = Schedule(rounds, local_passes, whole)
    return ClientSequence(source, parts, batch_size, schedule, seed=0, show_ids=False, rank=rank, workers=workers)


def serve(sequence):
    return [sequence.next_batch() for _ in range(sequence.length)]


def rows(batches):
    return sorted(torch.cat([batch.x[:, 0] for batch in batches]).int().tolist())


def by_turn(batches):
    """The batches of each round and client."""
    found = {}
    for batch in batches:
        found.setdefault((batch.turn.round, batch.turn.client), []).append(batch)
    return found


class TestOneWorker:
    def test_clients_of_a_round_train_in_turn_on_their_own_samples(self):
        turns = by_turn(serve(made()))
        assert list(turns) == [(number, client) for number, clients in enumerate(ROUNDS) for client in clients]
        for (_, client), batches in turns.items():
            assert {int(label) for batch in batches for label in batch.y} == {client}
            assert {batch.turn.n_samples for batch in batches} == {SIZES[client]}
            assert [batch.turn.ends for batch in batches] == [False] * (len(batches) - 1) + [True]

    def test_a_turn_is_local_passes_over_all_samples_each_in_another_order(self):
        for local_passes in (1, 2, 3):
            for (_, client), batches in by_turn(serve(made(local_passes=local_passes))).items():
                per_pass = len(batches) // local_passes
                passes = [batches[start : start + per_pass] for start in range(0, len(batches), per_pass)]
                assert len(passes) == local_passes
                assert len({tuple(rows(part)) for part in passes}) == 1
                assert len(rows(passes[0])) == len(set(rows(passes[0]))) == SIZES[client]

    def test_samples_come_in_another_order_each_time(self):
        orders = [
            torch.cat([batch.x for batch in part]).tolist()
            for (_, client), batches in by_turn(serve(made())).items()
            for part in (batches[: len(batches) // 2], batches[len(batches) // 2 :])
            if client == 3
        ]
        assert len(orders) == 4
        assert all(one != other for one, other in itertools.combinations(orders, 2))

    def test_rounds_end_with_the_last_batch_of_their_last_client(self):
        batches = serve(made())
        ends = [batch.turn.round for batch in batches if batch.turn.ends_round]
        assert ends == [0, 1, 2, 3]
        for batch, after in itertools.pairwise(batches):
            assert batch.turn.ends_round == (batch.turn.round != after.turn.round)

    def test_each_sample_is_new_once(self):
        first = [batch for batch in serve(made()) if batch.first_pass]
        assert rows(first) == list(range(sum(SIZES.values())))
        assert {(batch.turn.round, batch.turn.client) for batch in first} == {(0, 0), (0, 3), (1, 2), (2, 5)}

    def test_labels_shown_are_those_of_the_new_batches_so_far(self):
        sequence, shown = made(), []
        for _ in range(sequence.length):
            batch = sequence.next_batch()
            shown += batch.y.tolist() if batch.first_pass else []
            assert sequence.labels_shown().tolist() == shown

    def test_the_loader_knows_the_sizes_of_the_new_batches(self):
        sequence = made()
        loader = BatchLoader(sequence)
        for batch in loader:
            assert loader.sizes[batch.batch_id.step] == len(batch.y)
        assert sum(loader.sizes) == sum(SIZES.values())

    def test_a_resumed_sequence_goes_on(self):
        whole = [batch.x.tolist() for batch in BatchLoader(made())]
        for stop in range(len(whole)):
            loader, resumed = BatchLoader(made()), BatchLoader(made())
            for _ in zip(range(stop), loader, strict=False):
                pass
            resumed.load_state_dict(loader.state_dict())
            assert [batch.x.tolist() for batch in resumed] == whole[loader.state_dict()["next"] :]

    def test_samples_can_be_looked_at_where_they_are_presented_again(self):
        assert made().preview(1000).y.unique().tolist() == list(SIZES)
        with pytest.raises(HiddenError):
            made(rounds=[[0, 2, 3, 5]], local_passes=1).preview(1)


@pytest.mark.parametrize("workers", [2, 3, 7])
class TestWholeClients:
    def test_each_client_is_served_by_one_worker_just_as_by_a_single_one(self, workers):
        alone = by_turn(serve(made()))
        for rank in range(workers):
            for (number, client), batches in by_turn(serve(made(rank, workers))).items():
                if client is not None:
                    assert client % workers == rank
                    expected = alone.pop((number, client))
                    assert [b.x.tolist() for b in batches] == [b.x.tolist() for b in expected]
                    assert [b.first_pass for b in batches] == [b.first_pass for b in expected]
        assert not alone

    def test_rounds_take_as_many_steps_on_all_workers(self, workers):
        steps = [
            [(batch.turn.round, batch.turn.ends_round) for batch in serve(made(rank, workers))]
            for rank in range(workers)
        ]
        assert all(own == steps[0] for own in steps)
        assert [number for number, ends in steps[0] if ends] == [0, 1, 2, 3]

    def test_whoever_waits_has_no_samples(self, workers):
        for rank in range(workers):
            for batch in serve(made(rank, workers)):
                assert (batch.turn.client is None) == (len(batch.y) == 0)
                assert batch.turn.client is not None or (not batch.first_pass and not batch.turn.ends)

    def test_scores_of_workers_can_be_added_up(self, workers):
        loaders = [BatchLoader(made(rank, workers)) for rank in range(workers)]
        assert len({loader.steps_per_pass for loader in loaders}) == 1
        assert sum(sum(loader.sizes) for loader in loaders) == sum(SIZES.values())

    def test_a_worker_looks_at_samples_of_its_own_clients(self, workers):
        for rank in range(workers):
            assert all(client % workers == rank for client in made(rank, workers).preview(1000).y.tolist())


@pytest.mark.parametrize("workers", [2, 4])
class TestSharedClients:
    def test_workers_share_the_samples_of_each_client_in_step(self, workers):
        served = [serve(made(rank, workers, whole=False, sizes=LARGER)) for rank in range(workers)]
        for together in zip(*served, strict=True):
            assert len({(batch.turn, batch.first_pass) for batch in together}) == 1
            assert max(len(batch.y) for batch in together) - min(len(batch.y) for batch in together) <= 1
        for (_, client), batches in by_turn(itertools.chain(*served)).items():
            assert len(rows(batches)) == 2 * LARGER[client]
            assert len(set(rows(batches))) == LARGER[client]
        assert rows(b for own in served for b in own if b.first_pass) == list(range(sum(LARGER.values())))


class TestDrawRounds:
    def test_each_round_has_so_many_clients_or_all(self):
        holders = [1, 4, 6, 7]
        for n in range(1, 6):
            for clients in draw_rounds(holders, n, 20, seed=0):
                assert clients == sorted(set(clients))
                assert len(clients) == min(n, 4)
                assert set(clients) <= set(holders)

    def test_all_clients_are_drawn_alike(self):
        counts = torch.tensor([c for clients in draw_rounds(range(5), 1, 2000, seed=0) for c in clients]).bincount()
        assert share_p_value(counts, torch.ones(5)) > ALPHA
