from dataclasses import dataclass

import pytest
import torch

from redwood.core.errors import BufferInputError, InvalidOptionError
from redwood.engine.run import Run
from redwood.methods import METHODS, get_method
from redwood.methods.regularisation.ewc import EWC
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.methods.training.step import Replayed
from redwood.settings import ClassSplit
from tests.methods.helpers import batch_of, configured, step_of
from tests.samples import N_TRAIN, numbered
from tests.small_runs import run_here, small_setting


@dataclass
class Watched(Rehearsal):
    """Rehearsal that notes what comes in, what is trained on, and what was stored before."""

    def configure(self, setting):
        super().configure(setting)
        self.seen = []

    def augment(self, step):
        before = set(stored(self)) if len(self.buffer) else set()
        super().augment(step)
        self.seen.append((step.incoming, step.batch, before, step.first_pass))


def numbers(batch):
    return [int(value) for value in batch.x[:, 0]]


def stored(method):
    rows = method.buffer.state_dict()["rows"]["x"]
    return [int(value) for value in rows[:, 0]]


def rehearse(key, data=None, method=None, **options):
    method = method or Watched(buffer_size=20, replay_ratio=2)
    run_here(small_setting(key, **{"dataset": data or numbered(), "batch_size": 4, "passes": 3} | options), method)
    return method


@pytest.mark.parametrize("key", ["continual", "class_incremental", "task_incremental"])
class TestAugment:
    def test_a_batch_is_the_incoming_one_followed_by_samples_from_the_buffer(self, key):
        for incoming, augmented, before, _ in rehearse(key).seen:
            assert numbers(augmented)[: len(incoming.y)] == numbers(incoming)
            drawn = numbers(augmented)[len(incoming.y) :]
            assert len(drawn) == len(set(drawn)) == min(2 * len(incoming.y), len(before))
            assert set(drawn) <= before

    def test_labels_and_ids_stay_with_their_samples(self, key):
        data = numbered()
        shown = {}
        for incoming, augmented, _, _ in rehearse(key, data).seen:
            assert augmented.y.tolist() == data.y[numbers(augmented)].tolist()
            assert (augmented.task_id is None) == (incoming.task_id is None) == (key == "continual")
            if incoming.task_id is not None:
                shown |= dict(zip(numbers(incoming), incoming.task_id.tolist(), strict=True))
                assert [shown[number] for number in numbers(augmented)] == augmented.task_id.tolist()

    def test_the_buffer_is_offered_each_sample_once_however_many_passes(self, key):
        method = rehearse(key)
        offered = [number for batch, _, _, first in method.seen if first for number in numbers(batch)]
        assert method.buffer.n_seen == len(offered)
        assert sorted(offered) == list(range(N_TRAIN))
        assert len(set(stored(method))) == 20


class TestBuffer:
    def test_what_is_stored_is_spread_over_the_stream(self):
        method = rehearse("class_incremental", numbered(n_train=600), batch_size=20, passes=1)
        tasks = method.buffer.state_dict()["rows"]["task_id"]
        assert len(set(stored(method))) == 20
        assert min(torch.bincount(tasks, minlength=3)) >= 2

    def test_storage_dtype_is_kept(self):
        method = Rehearsal(buffer_size=30)
        run_here(small_setting("class_incremental"), method)
        rows = method.buffer.state_dict()["rows"]
        assert rows["x"].dtype == torch.uint8
        assert method.costs()["buffer_bytes"] == 30 * (64 + 8 + 8)

    def test_draws_follow_from_the_seed(self):
        first, again, other = (
            [
                numbers(batch)
                for _, batch, _, _ in rehearse(
                    "class_incremental", seed=seed, stream=ClassSplit(class_order=range(6))
                ).seen
            ]
            for seed in (0, 0, 1)
        )
        assert first == again != other

    @pytest.mark.parametrize("options", [{"buffer_size": 0}, {"replay_ratio": -0.5}, {"buffer_bytes": -1}])
    def test_sizes_out_of_range(self, options):
        with pytest.raises(InvalidOptionError, match=r"has to be at least [01]"):
            Rehearsal(**options)


def share(buffer_size):
    method = Watched(buffer_size=buffer_size, replay_ratio=2)
    rehearse("class_incremental", method=method, workers=2)
    return method.buffer.capacity, method.buffer.n_seen, stored(method), method.costs()["buffer_bytes"]


class TestTwoWorkers:
    @pytest.mark.parametrize(("buffer_size", "parts"), [(20, [10, 10]), (7, [4, 3])])
    def test_the_buffer_is_shared_out(self, two_workers, buffer_size, parts):
        shares = two_workers.run(share, buffer_size)
        assert [capacity for capacity, *_ in shares] == parts
        assert sum(n_seen for _, n_seen, *_ in shares) == N_TRAIN
        assert len({number for _, _, rows, _ in shares for number in rows}) == buffer_size
        assert sum(nbytes for *_, nbytes in shares) == buffer_size * 32  # 8 + 8 + 8, and filled up to words of 16

    @pytest.mark.parametrize("rank", [0, 1])
    def test_a_buffer_smaller_than_the_workers_is_refused_by_all_of_them(self, monkeypatch, rank):
        """If only some refused it, the others would wait for these."""
        monkeypatch.setattr("redwood.methods.replay.options.rank", lambda: rank)
        monkeypatch.setattr("redwood.methods.replay.options.world_size", lambda: 2)
        method = Rehearsal(buffer_size=1)
        method.attach(Run(accelerator="cpu"))
        with pytest.raises(InvalidOptionError, match="--buffer_size 1 has to be at least --workers 2"):
            method.configure(small_setting("class_incremental", workers=2).for_method())


class TestComposition:
    def test_rehearsal_with_elastic_weight_consolidation_is_two_lines(self):
        @dataclass
        class Both(EWC, Rehearsal):
            """Rehearsal, and weights that are held back."""

        method = Both(buffer_size=20, ewc_lambda=1.0)
        results = run_here(small_setting("class_incremental"), method)
        assert len(method.buffer) == 20
        assert method.curvature
        assert Both.target is EWC.target
        assert results.cost.buffer_bytes > 2 * 4 * results.cost.parameters


REHEARSING = [key for key in METHODS if key != "agem" and issubclass(get_method(key), Rehearsal)]


@pytest.mark.parametrize("key", REHEARSING)
def test_the_weight_of_replayed_samples_counts(key):
    """In whatever the method makes of them: labels, stored outputs, one sigmoid for each class."""
    method = configured(get_method(key)())
    method._taught = torch.zeros(10, dtype=torch.bool)  # for those with one sigmoid for each class, as in a first task
    losses = [float(method.loss(with_replayed(weight)).detach()) for weight in (None, 1.0, 0.0, 2.0)]
    assert losses[0] == pytest.approx(losses[1])
    assert losses[2] < losses[1] < losses[3]
    assert losses[3] - losses[1] == pytest.approx(losses[1] - losses[2], rel=1e-4)


@pytest.mark.parametrize("key", REHEARSING)
def test_the_weights_of_an_overridden_join_are_those_of_all_replayed_samples(key, monkeypatch):
    """Samples of the weight 0 may be any others: those of a second draw, too."""
    cls = get_method(key)

    @dataclass
    class Weighted(cls):
        weight: float = 0.0

        def join(self, step):
            super().join(step)
            step.weights = torch.ones(len(step.batch.y))
            step.weights[step.n_incoming :] = self.weight

    changes = []
    for weight in (0.0, 1.0):
        method = configured(Weighted(weight=weight))
        method._taught = torch.zeros(10, dtype=torch.bool)
        monkeypatch.setattr(method.replay, "draw", lambda step, number=0: replayed(16 + 8 * number))
        step = step_of(batch_of(0, 16))
        method.augment(step)
        assert len(step.batch.y) == 16 + 8 * cls.draws
        before = float(method.loss(step).detach())
        step.outputs = step.outputs_of = None
        step.batch.x[step.n_incoming :] = 0
        changes.append(float(method.loss(step).detach()) - before)
    assert changes[0] == 0 != changes[1]


def replayed(start):
    """Eight samples as a buffer returns them."""
    rows = batch_of(start, start + 8).leaves() | {"logits": torch.full((8, 10), 5.0)}
    return Replayed(rows, torch.arange(start, start + 8))


def with_replayed(weight):
    """A step with eight samples replayed, of a weight."""
    step = step_of(batch_of(0, 16))
    step.replayed = replayed(16)
    step.replayed_rows = step.join(step.replayed)
    if weight is not None:
        step.weights = torch.ones(24)
        step.weights[16:] = weight
    return step


def test_samples_that_a_method_changes_in_place_are_not_stored():
    class Spoiling(Rehearsal):
        def loss(self, step):
            loss = super().loss(step)
            step.incoming.x.add_(1)
            return loss

    with pytest.raises(BufferInputError, match="has changed the incoming samples in place before they were stored"):
        rehearse("class_incremental", method=Spoiling(buffer_size=20))


@pytest.mark.parametrize("name", ["x", "y", "task_id"])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_further_leaves_have_names_of_their_own(name, asynchronous):
    @dataclass
    class Own(Rehearsal):
        def further_leaves(self, step):
            return {name: step.on_host.y}

    with pytest.raises(BufferInputError, match=f"further_leaves may not name a tensor '{name}'"):
        small_setting("class_incremental").apply(Own(buffer_size=8, asynchronous=asynchronous), accelerator="cpu")
