import pytest
import torch

from redwood.core.errors import InvalidOptionError
from redwood.settings.batch import Batch
from redwood.settings.data.entries import Entries
from redwood.settings.streams.batches import BatchSequence, Source
from redwood.settings.streams.order import batch_cuts, workers_of_places
from redwood.settings.streams.partition import dirichlet_owners
from redwood.settings.tree import (
    DistributedClassIncrementalSetting,
    DistributedDomainIncrementalSetting,
    DistributedOnlineClassIncrementalSetting,
)
from tests.methods.helpers import one_sentence
from tests.regression import line
from tests.samples import numbered
from tests.small_runs import small_setting


def numbers_in(batches):
    return torch.cat([batch.x[:, 0] for batch in batches]).int().tolist()


def sequences(n, batch_size, workers):
    """The batches of each worker; sample i is i."""
    rows = torch.arange(n)
    source, entries = Source(rows[:, None].float(), rows.double(), []), Entries(rows, torch.zeros_like(rows))
    quotas = workers_of_places(batch_cuts(n, batch_size, workers), workers).bincount(minlength=workers).tolist()
    owners = dirichlet_owners(rows % 3, quotas, alpha=0.1, seed=0)
    options = {"passes": 2, "shuffle": True, "seed": 0, "show_ids": False, "workers": workers, "owners": owners}
    return [BatchSequence(source, entries, batch_size, rank=rank, **options) for rank in range(workers)]


@pytest.mark.parametrize("workers", [1, 2, 3, 5])
@pytest.mark.parametrize("n", [5, 31, 64])
class TestBatches:
    def test_each_sample_is_served_once_a_pass_always_by_the_same_worker(self, workers, n):
        passes: list[list[int]] = [[], []]
        for sequence in sequences(n, 4, workers):
            own = [numbers_in(sequence.next_batch() for _ in range(sequence.length)) for _ in passes]
            assert sorted(own[0]) == sorted(own[1])
            assert len(own[0]) < 5 or own[0] != own[1]
            passes = [served + rows for served, rows in zip(passes, own, strict=True)]
        assert [sorted(rows) for rows in passes] == [list(range(n))] * 2

    def test_workers_take_the_steps_that_they_take_with_even_shards(self, workers, n):
        sizes = batch_cuts(n, 4, workers).diff().view(-1, workers)
        for rank, sequence in enumerate(sequences(n, 4, workers)):
            assert [len(sequence.next_batch().y) for _ in range(sequence.length)] == sizes[:, rank].tolist()

    def test_labels_shown_are_those_of_the_batches(self, workers, n):
        for sequence in sequences(n, 4, workers):
            served = torch.cat([sequence.next_batch().y for _ in range(sequence.length)])
            assert torch.equal(sequence.labels_shown(), served)

    def test_a_worker_looks_at_its_own_samples(self, workers, n):
        for sequence in sequences(n, 4, workers):
            seen = sequence.preview(n).x[:, 0].int().tolist()
            assert sorted(seen) == sorted(numbers_in(sequence.next_batch() for _ in range(sequence.length)))


def serve(shard, setting=DistributedClassIncrementalSetting, **options):
    """All batches of this worker, by phase."""
    made = setting(**{"dataset": numbered(), "shard": shard, "nb_tasks": 2, "batch_size": 4, "passes": 1} | options)
    return [[Batch(*batch) for batch in phase.train] for phase in made.phases()]


def serve_many(shard):
    return serve(shard, dataset=numbered(n_train=600), nb_tasks=1)


class TestShard:
    def test_two_workers_share_each_phase(self, two_workers):
        served = two_workers.run(serve, "dirichlet:0.1")
        both = [numbers_in(first + second) for first, second in zip(*served, strict=True)]
        assert sorted(both[0] + both[1]) == list(range(66))
        assert [len(first) for first in served[0]] == [len(second) for second in served[1]]

    def test_the_smaller_alpha_the_less_alike_are_two_workers(self, two_workers):
        def distance(shard):
            first, second = two_workers.run(serve_many, shard)
            counts = [torch.cat([batch.y for batch in part[0]]).bincount(minlength=6) for part in (first, second)]
            return int((counts[0] - counts[1]).abs().sum()) / 600

        far, near = distance("dirichlet:0.01"), distance("dirichlet:1000")
        assert far > 0.5
        assert near < 0.25

    def test_samples_of_one_class(self):
        (batches,) = serve("dirichlet:0.1", DistributedDomainIncrementalSetting, dataset=one_class(), nb_tasks=1)
        assert sorted(numbers_in(batches)) == list(range(10))


def one_class():
    data = numbered()
    return type(data)("one", data.x[:10], torch.zeros(10).long(), data.x_test, torch.zeros_like(data.y_test))


class TestBadInput:
    @pytest.mark.parametrize("shard", ["", "odd", "dirichlet", "dirichlet:", "dirichlet:a", "dirichlet:0", "even:1"])
    def test_what_is_no_shard(self, shard):
        with pytest.raises(InvalidOptionError, match=f"--shard {shard} is unknown; choose even, or") as caught:
            DistributedClassIncrementalSetting(shard=shard)
        assert one_sentence(caught.value)

    @pytest.mark.parametrize("alpha", ["-1", "inf", "nan"])
    def test_what_is_no_concentration(self, alpha):
        with pytest.raises(InvalidOptionError, match="a number ALPHA greater than 0"):
            DistributedOnlineClassIncrementalSetting(shard=f"dirichlet:{alpha}")

    def test_numbers_have_no_classes(self):
        setting = DistributedDomainIncrementalSetting(dataset=line(), shard="dirichlet:1", stream="instance")
        with pytest.raises(InvalidOptionError, match="do not have one class each; use other data") as caught:
            setting.open_stream()
        assert one_sentence(caught.value)

    def test_an_order_is_not_changed(self):
        setting = small_setting(
            "distributed_domain_incremental", stream="ordered", passes=1, shard="dirichlet:1", workers=2
        )
        with pytest.raises(InvalidOptionError, match="keeps with --passes 1") as caught:
            setting.open_stream()
        assert one_sentence(caught.value)
