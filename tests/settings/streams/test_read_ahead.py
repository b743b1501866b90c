import os
import signal
from contextlib import contextmanager

import pytest
import torch

from redwood.core.errors import DataError, InvalidOptionError
from redwood.core.seeding import random_state
from redwood.settings.data.entries import Entries
from redwood.settings.streams import read_ahead
from redwood.settings.streams.batches import BatchSequence, Source
from redwood.settings.streams.read_ahead import Decoding, ReadAhead, decoding_workers
from tests.children import alive, earlier_children  # noqa: F401  # a fixture
from tests.methods.helpers import one_sentence
from tests.settings.lazy import Lazy, Noisy

X = torch.arange(40.0).view(20, 2)
BATCHES = torch.randperm(20, generator=torch.Generator().manual_seed(0)).split(3)


def reader(decoding=None, kind=Lazy, **options):
    return ReadAhead(kind(X, **options), BATCHES.__getitem__, len(BATCHES), decoding or Decoding(), seed=1)


@contextmanager
def workers(count=2):
    decoding = Decoding()
    with decoding.in_workers(count, pin_memory=False):
        yield decoding


def every(ahead):
    return [ahead.read(number, first=number) for number in range(len(BATCHES))]


class TestReadAhead:
    def test_processes_decode_the_same_batches(self):
        here = every(reader(kind=Noisy))
        with workers() as decoding:
            ahead = reader(decoding, Noisy)
            there = every(ahead)
            assert not ahead._x.asked.any(), "this process has decoded"
        assert all(map(torch.equal, here, there))
        assert not torch.equal(here[0], X[BATCHES[0]])

    def test_what_samples_draw_depends_on_the_batch_alone(self):
        whole = every(reader(kind=Noisy))
        later = reader(kind=Noisy)
        torch.manual_seed(9)
        assert torch.equal(later.read(4, first=4), whole[4])

    @pytest.mark.parametrize("count", [0, 2])
    def test_the_generators_of_this_process_stay_as_they_are(self, count):
        with workers(count) as decoding:
            before = random_state()
            every(reader(decoding, Noisy))
            assert str(random_state()) == str(before)

    def test_a_batch_that_is_needed_again_is_decoded_once(self):
        ahead = reader()
        peeked = [ahead.read(number, first=0, keep=True) for number in (1, 2)]
        peeked[0].zero_()
        served = [ahead.read(number, first=number) for number in (0, 1, 2, 3)]
        assert all(torch.equal(x, X[BATCHES[number]]) for number, x in enumerate(served))
        assert ahead._x.asked[torch.cat(BATCHES[:4]).numpy()].tolist() == [1] * 12
        assert not ahead._kept

    def test_a_batch_that_is_over_is_decoded_again(self):
        with workers() as decoding:
            ahead = reader(decoding)
            every(ahead)
            assert torch.equal(ahead.read(2, first=6), X[BATCHES[2]])

    def test_reading_begins_in_the_middle(self):
        with workers() as decoding:
            ahead = reader(decoding)
            assert torch.equal(ahead.read(5, first=4), X[BATCHES[5]])
            assert torch.equal(ahead.read(4, first=4), X[BATCHES[4]])
            assert not ahead._x.asked.any()

    def test_an_error_comes_with_its_batch_and_in_one_sentence(self):
        damaged = int(BATCHES[3][1])
        with workers() as decoding:
            ahead = reader(decoding, damaged=damaged)
            for number in range(3):
                ahead.read(number, first=number)
            with pytest.raises(DataError, match=rf"^The sample {damaged} cannot be read; replace it\.$") as caught:
                ahead.read(3, first=3)
        assert one_sentence(caught.value)
        assert not alive()

    def test_a_worker_that_is_killed_is_done_without(self):
        with workers() as decoding:
            ahead = reader(decoding)
            found = [ahead.read(0, first=0)]
            for process in alive():
                os.kill(process.pid, signal.SIGKILL)
                process.join()
            with pytest.warns(UserWarning, match="has ended .*lower --num_workers") as told:
                found += [ahead.read(number, first=number) for number in range(1, len(BATCHES))]
        assert len(told) == 1
        assert all(torch.equal(x, X[rows]) for x, rows in zip(found, BATCHES, strict=True))

    def test_no_process_outlives_the_last_batch_or_the_block(self):
        with workers() as decoding:
            ahead, other = reader(decoding), reader(decoding)
            every(ahead)
            assert not alive()
            other.read(0, first=0)
            assert len(alive()) == 2
        assert not alive()
        assert torch.equal(other.read(1, first=1), X[BATCHES[1]])

    def test_a_single_batch_starts_no_process(self):
        with workers() as decoding:
            ahead = reader(decoding)
            ahead.read(len(BATCHES) - 1, first=len(BATCHES) - 1)
            assert not alive()


class TestBatchesOfASequence:
    """Each batch is decoded once, however often it is shown, and is let go once it is over."""

    def sequence(self, decoding=None, **options):
        entries = Entries(torch.arange(12), torch.zeros(12, dtype=torch.long))
        source = Source(Lazy(X), torch.zeros(20), (), decoding=decoding or Decoding())
        return BatchSequence(source, entries, 4, **{"shuffle": False, "seed": 0, "show_ids": False} | options)

    def kept(self, sequence):
        """The batches that are kept for later, by their numbers."""
        return sorted(sequence._reader._kept)

    def test_one_that_is_repeated_at_once(self):
        sequence, kept = self.sequence(passes=3), []
        for step in range(9):
            batch = sequence.next_batch()
            assert torch.equal(batch.x, X[torch.arange(12).split(4)[step // 3]])
            batch.x.zero_()  # a method may change what it got
            kept.append(self.kept(sequence))
        assert kept == [[0], [0], [], [1], [1], [], [2], [2], []]
        assert sequence._source.x.asked[:12].tolist() == [1] * 12

    def test_one_that_is_looked_at_beforehand(self):
        sequence = self.sequence()
        assert torch.equal(sequence.peek(1).x, sequence.peek(1).x)
        assert self.kept(sequence) == [0, 1]
        for left in ([1], [], []):
            sequence.next_batch()
            assert self.kept(sequence) == left
        assert sequence._source.x.asked[:12].tolist() == [1] * 12

    def test_one_of_each_epoch(self):
        sequence = self.sequence(passes=3, shuffle=True)
        shown = []
        for step in range(9):
            shown.append(sequence.next_batch().x)
            assert self.kept(sequence) == [] and set(sequence._orders) <= {step // 3 - 1, step // 3}
        assert sequence._source.x.asked[:12].tolist() == [3] * 12
        assert not torch.equal(torch.cat(shown[:3]), torch.cat(shown[3:6]))

    def test_where_a_resumed_one_begins(self):
        whole, resumed = self.sequence(passes=2), self.sequence(passes=2)
        expected = [whole.next_batch().x for _ in range(6)]
        resumed.epoch, resumed.next = 0, 3  # in the middle of the second batch
        assert all(torch.equal(resumed.next_batch().x, x) for x in expected[3:])
        assert resumed._source.x.asked[:12].tolist() == [0] * 4 + [1] * 8

    @pytest.mark.parametrize("shuffle", [True, False])
    def test_processes_decode_all_of_them(self, shuffle):
        """Of all epochs, and from the batch on that a resumed sequence begins with, even if it looks ahead first."""
        with workers(1) as decoding:
            sequence, left = self.sequence(decoding, passes=2, shuffle=shuffle), 6
            if not shuffle:
                sequence.next, left = 2, 4
                sequence.peek(2)
            assert all(sequence.next_batch() is not None for _ in range(left))
            assert not sequence._source.x.asked.any()
            assert not alive()


class TestBatchesOfASource:
    @pytest.mark.parametrize("count", [0, 2])
    def test_the_same_as_of_samples_in_memory(self, count, monkeypatch):
        monkeypatch.setattr("redwood.settings.streams.batches.DECODED_AT_ONCE", 3)
        entries = Entries(torch.arange(19), torch.zeros(19, dtype=torch.long))
        wanted = list(Source(X, torch.zeros(20), ()).batches(entries, 8))
        with workers(count) as decoding:
            found = list(Source(Lazy(X), torch.zeros(20), (), decoding=decoding).batches(entries, 8))
        assert [len(x) for _, x in found] == [8, 8, 3]
        for (batch, x), (other, expected) in zip(found, wanted, strict=True):
            assert torch.equal(x, expected)
            assert torch.equal(batch.rows, other.rows)

    def test_no_entries(self):
        entries = Entries(torch.arange(0), torch.arange(0))
        assert [len(x) for _, x in Source(Lazy(X), torch.zeros(20), ()).batches(entries, 8)] == [0]

    def test_giving_up_in_the_middle_ends_the_processes(self, monkeypatch):
        monkeypatch.setattr("redwood.settings.streams.batches.DECODED_AT_ONCE", 1)
        entries = Entries(torch.arange(19), torch.zeros(19, dtype=torch.long))
        with workers() as decoding:
            batches = Source(Lazy(X), torch.zeros(20), (), decoding=decoding).batches(entries, 8)
            next(batches)
            assert len(alive()) == 2
            batches.close()
            assert not alive()


class TestNumberOfWorkers:
    def test_in_memory_there_are_none(self):
        assert decoding_workers("digits", [X, X], None, 1) == 0
        assert decoding_workers("digits", [X, X], 0, 1) == 0
        with pytest.raises(InvalidOptionError, match=r"--num_workers 2 has no effect on digits.*in memory") as caught:
            decoding_workers("digits", [X, X], 2, 1)
        assert one_sentence(caught.value)

    @pytest.mark.parametrize(("cores", "share", "expected"), [(16, 1, 4), (3, 1, 3), (8, 4, 2), (1, 2, 1)])
    def test_the_default_is_one_a_core(self, monkeypatch, cores, share, expected):
        monkeypatch.setattr(read_ahead, "usable_cores", lambda: cores)
        assert decoding_workers("pets", [Lazy(X), X], None, share) == 0  # too few to start a process for
        monkeypatch.setattr(read_ahead, "WORTH_PROCESSES", 1)
        assert decoding_workers("pets", [Lazy(X), X], None, share) == expected
        assert decoding_workers("pets", [Lazy(X)], 7, share) == 7

    def test_samples_that_cannot_be_sent(self, monkeypatch):
        inside = Lazy(X)
        inside.crop = lambda x: x
        own = type("Own", (Lazy,), {"__module__": "__main__"})
        monkeypatch.setattr(read_ahead, "WORTH_PROCESSES", 1)
        monkeypatch.setattr("__main__.Own", own, raising=False)
        for x, reason in ((inside, "lambda"), (own(X), "Own is made of parts of the script")):
            assert decoding_workers("pets", [x], None, 1) == 0
            with pytest.raises(InvalidOptionError, match=f"--num_workers 2 needs .*{reason}") as caught:
                decoding_workers("pets", [x], 2, 1)
            assert one_sentence(caught.value)
