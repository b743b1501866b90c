import copy
import itertools
import pickle

import pytest
import torch

from redwood.core.errors import HiddenError, PhaseOverError
from redwood.settings.data.dataset import Dataset
from redwood.settings.streams.batches import BatchSequence, Source
from redwood.settings.streams.cuts import ClassSplit
from redwood.settings.streams.loader import BatchLoader
from redwood.settings.streams.order import task_entries
from redwood.settings.streams.tasks import STREAMS, Cut, make_tasks
from tests.samples import few_digits, numbered

DATA = numbered()
TASKS, _ = make_tasks(DATA, ClassSplit(), Cut(3, shared_outputs=False, seed=0))
ENTRIES = task_entries([task.rows for task in TASKS])[0]


def make(**options):
    defaults = {"shuffle": True, "seed": 3, "show_ids": True, "passes": 2}
    return BatchLoader(BatchSequence(Source(DATA.x, DATA.y, TASKS), ENTRIES, 4, **(defaults | options)))


def ids(batches):
    """Numbers of the samples, batch by batch."""
    return [batch.x[:, 0].long().tolist() for batch in batches]


def passes(loader):
    """The batches of each epoch."""
    return [ids(loader) for _ in range(loader.epochs)]


def flat(lists):
    return list(itertools.chain(*lists))


class TestShuffled:
    def test_every_sample_comes_exactly_once_a_pass(self):
        for shown in passes(make(passes=3)):
            assert sorted(flat(shown)) == ENTRIES.rows.tolist()

    def test_each_pass_is_shuffled_anew(self):
        first, second, third = passes(make(passes=3))
        assert first != second != third != first

    def test_seed(self):
        first, again, other = (passes(make(seed=seed)) for seed in (3, 3, 4))
        assert first == again != other

    def test_lengths(self):
        loader = make(passes=3)
        batches = list(loader)
        assert len(loader) == loader.steps_per_pass == len(batches) == -(-len(ENTRIES) // 4)
        assert loader.epochs == 3


class TestPreview:
    def test_shows_samples_of_the_phase_alone_and_serves_none(self):
        loader = make()
        shown = loader.preview(1000)
        assert sorted(shown.x[:, 0].long().tolist()) == ENTRIES.rows.tolist()
        assert torch.equal(shown.y, DATA.y[shown.x[:, 0].long()]) and set(shown.task_id.tolist()) == {0}
        assert loader.samples_served == 0 and shown.batch_id is None
        assert passes(loader) == passes(make())

    def test_is_drawn_by_the_seed(self):
        first, again, other = (ids([make(seed=seed).preview(5)]) for seed in (3, 3, 4))
        assert first == again != other and len(first[0]) == 5

    def test_workers_see_different_samples(self):
        parts = [ids([make(rank=rank, workers=2).preview(1000)])[0] for rank in (0, 1)]
        assert sorted(flat(parts)) == ENTRIES.rows.tolist()

    @pytest.mark.parametrize("options", [{"passes": 1}, {"shuffle": False}])
    def test_samples_that_come_once_or_in_order_stay_hidden(self, options):
        with pytest.raises(HiddenError, match="--passes 2 or more"):
            make(**options).preview(5)

    def test_ends_with_the_phase(self):
        loader = make()
        loader.close()
        with pytest.raises(PhaseOverError):
            loader.preview(5)


class TestOrdered:
    def test_each_batch_is_repeated_before_the_stream_moves_on(self):
        (shown,) = passes(make(shuffle=False, passes=3))
        assert shown[::3] == shown[1::3] == shown[2::3]
        assert flat(shown[::3]) == ENTRIES.rows.tolist()

    def test_lengths(self):
        loader = make(shuffle=False, passes=3)
        assert (loader.epochs, len(loader)) == (1, 3 * loader.steps_per_pass)

    def test_only_the_first_showing_of_a_batch_is_a_first_pass(self):
        loader = make(shuffle=False, passes=3)
        assert [loader.first_pass for _ in loader] == [True, False, False] * loader.steps_per_pass


class TestBothOrders:
    def test_only_the_first_epoch_is_a_first_pass(self):
        loader = make(passes=3)
        assert [{loader.first_pass for _ in loader} for _ in range(3)] == [{True}, {False}, {False}]

    @pytest.mark.parametrize("shuffle", [True, False])
    def test_samples_served(self, shuffle):
        loader = make(shuffle=shuffle, passes=3)
        passes(loader)
        assert loader.samples_served == 3 * len(ENTRIES)

    @pytest.mark.parametrize("shuffle", [True, False])
    @pytest.mark.parametrize("workers", [2, 3])
    def test_shards_are_disjoint_and_complete_in_every_pass(self, shuffle, workers):
        shards = [passes(make(shuffle=shuffle, passes=2, rank=rank, workers=workers)) for rank in range(workers)]
        for epoch in zip(*shards, strict=True):
            assert len({len(shown) for shown in epoch}) == 1
            repeats = 1 if shuffle else 2
            assert sorted(flat(flat(epoch))) == sorted(ENTRIES.rows.tolist() * repeats)

    @pytest.mark.parametrize("shuffle", [True, False])
    def test_workers_see_together_what_one_worker_sees(self, shuffle):
        def sequence(rank, workers, batch_size):
            source, place = Source(DATA.x, DATA.y, TASKS), {"rank": rank, "workers": workers}
            sequence = BatchSequence(source, ENTRIES, batch_size, shuffle=shuffle, seed=3, show_ids=False, **place)
            return ids(BatchLoader(sequence))

        alone = sequence(0, 1, 4)
        shared = list(zip(sequence(0, 2, 2), sequence(1, 2, 2), strict=True))
        assert [flat(step) for step in shared] == alone

    @pytest.mark.parametrize("shuffle", [True, False])
    def test_position_is_resumed_exactly_from_every_step(self, shuffle):
        whole = make(shuffle=shuffle)
        everything = flat(passes(whole))
        total = len(everything)
        for stop in range(total):
            interrupted = make(shuffle=shuffle)
            before = ids(itertools.islice(endless(interrupted), stop))
            resumed = make(shuffle=shuffle)
            resumed.load_state_dict(interrupted.state_dict())
            after = ids(itertools.islice(endless(resumed), total - stop))
            assert before + after == everything
            assert resumed.samples_served == whole.samples_served

    def test_labels_and_ids_belong_to_the_samples(self):
        for batch in make():
            rows = batch.x[:, 0].long()
            assert torch.equal(batch.y, DATA.y[rows])
            assert batch.y.dtype == torch.int64
            assert batch.task_id.tolist() == [0] * len(rows)

    def test_hidden_ids_are_none(self):
        assert {batch.task_id for batch in make(show_ids=False)} == {None}

    def test_changing_a_batch_does_not_change_the_data(self):
        before = DATA.x.clone()
        for batch in make():
            batch.x.zero_()
            batch.y.zero_()
            batch.task_id.fill_(7)
        assert torch.equal(DATA.x, before)
        assert sorted(flat(ids(make(passes=1)))) == ENTRIES.rows.tolist()
        assert {int(t) for batch in make() for t in batch.task_id} == {0}


def endless(loader):
    for _ in range(loader.epochs):
        yield from loader


@pytest.mark.parametrize("shuffle", [True, False])
class TestEnd:
    def test_there_are_no_more_epochs_than_announced(self, shuffle):
        loader = make(shuffle=shuffle)
        passes(loader)
        for _ in range(2):
            with pytest.raises(PhaseOverError, match=f"gone through {loader.epochs} times"):
                next(iter(loader))

    def test_iterators_share_one_position(self, shuffle):
        loader = make(shuffle=shuffle)
        iterators = [iter(loader) for _ in range(3)]
        for _ in range(loader.epochs):
            shown = [ids([next(iterators[step % 3])])[0] for step in range(len(loader))]
            assert sorted(flat(shown)) == sorted(ENTRIES.rows.tolist() * (loader.passes // loader.epochs))
            assert [list(iterator) for iterator in iterators] == [[], [], []]
            iterators = [iter(loader) for _ in range(3)]

    def test_a_closed_loader_serves_nothing(self, shuffle):
        loader = make(shuffle=shuffle)
        started, served = iter(loader), len(next(iter(loader)).y)
        next(started)
        loader.close()
        for iterator in (started, iter(loader)):
            with pytest.raises(PhaseOverError, match="The phase is over"):
                next(iterator)
        assert loader.samples_served > served
        loader.close()

    @pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
    def test_a_copy_serves_nothing(self, shuffle, duplicate):
        with pytest.raises(PhaseOverError):
            next(iter(duplicate(make(shuffle=shuffle))))

    def test_the_stream_does_not_go_back(self, shuffle):
        loader = make(shuffle=shuffle)
        start = loader.state_dict()
        loader.load_state_dict(start)
        next(iter(loader))
        with pytest.raises(PhaseOverError, match="does not go back"):
            loader.load_state_dict(start)


class TestLabelsShown:
    @pytest.mark.parametrize("shuffle", [True, False])
    @pytest.mark.parametrize("workers", [1, 3])
    def test_they_are_those_of_the_first_pass_so_far(self, shuffle, workers):
        for rank in range(workers):
            loader = make(shuffle=shuffle, rank=rank, workers=workers)
            expected = []
            assert loader.labels_shown().tolist() == []
            for batch in endless(loader):
                expected += batch.y.tolist() if batch.first_pass else []
                assert loader.labels_shown().tolist() == expected
            assert len(expected) == sum(loader.sizes)


class TestSource:
    @pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.float32])
    @pytest.mark.parametrize("stream", ["class_split", "permuted"])
    def test_storage_dtype_is_kept(self, dtype, stream):
        data = few_digits(40, 30)
        data = Dataset("digits", data.x.to(dtype), data.y, data.x_test.to(dtype), data.y_test, max_value=16)
        tasks, _ = make_tasks(data, STREAMS.make(stream), Cut(2, shared_outputs=False, seed=0))
        entries = task_entries([task.rows for task in tasks])[1]
        loader = BatchLoader(
            BatchSequence(Source(data.x, data.y, tasks), entries, 8, shuffle=True, seed=0, show_ids=False)
        )
        assert {batch.x.dtype for batch in loader} == {dtype}

    def test_samples_that_are_no_tensor_are_asked_for_by_index(self):
        class Files:
            shape, dtype = torch.Size([66, 2]), torch.float32

            def __len__(self):
                return 66

            def __getitem__(self, index):
                asked.append(index.tolist())
                return DATA.x[index]

        asked = []
        loader = BatchLoader(
            BatchSequence(Source(Files(), DATA.y, TASKS), ENTRIES, 4, shuffle=False, seed=0, show_ids=False)
        )
        assert ids(loader) == asked
        assert flat(asked) == ENTRIES.rows.tolist()
