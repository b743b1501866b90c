import gc
import pickle
import weakref

import pytest
import torch
from gymnasium.spaces import Discrete

from redwood.core.errors import InvalidPredictionError, PhaseOverError
from redwood.settings.batch import Batch
from redwood.settings.data.entries import Entries
from redwood.settings.scores import prequential
from redwood.settings.scores.prequential import CURVE_POINTS, OnlineAccuracy
from redwood.settings.streams.batches import BatchSequence, Source
from redwood.settings.streams.loader import _SEQUENCES, BatchLoader
from tests.methods.helpers import one_sentence
from tests.regression import line
from tests.small_runs import small_setting


class Sized(BatchSequence):
    """Batches of given sizes, whose labels are all 0."""

    def __init__(self, sizes):
        n = sum(sizes)
        rows = torch.arange(n)
        source = Source(torch.zeros(n, 1), torch.zeros(n), [])
        super().__init__(source, Entries(rows, torch.zeros_like(rows)), n, shuffle=False, seed=0, show_ids=False)
        stops = torch.tensor(sizes).cumsum(0).tolist()
        self.spans = list(zip([0, *stops], stops, strict=False))
        self.length = len(self.spans)


def scored(hits, sizes, only=None):
    """Score batches of these sizes, of which the first `hits` samples are predicted right."""
    loader = BatchLoader(Sized(sizes))
    online = OnlineAccuracy(loader, Discrete(2))
    for step, (batch, hit) in enumerate(zip(loader, hits, strict=True)):
        predictions = torch.ones(len(batch.y), dtype=torch.long)
        predictions[:hit] = 0
        if only is None or step in only:
            online.update(predictions, batch)
    return online


class TestOnlineAccuracy:
    def test_each_point_counts_the_samples_since_the_one_before(self):
        assert scored([1, 0, 2], [4, 2, 2]).curve() == [(4, 0.25), (6, 0.0), (8, 1.0)]

    def test_nothing_scored(self):
        assert scored([1, 0, 2], [4, 2, 2], only=()).curve() == []

    @pytest.mark.parametrize("steps", [CURVE_POINTS, CURVE_POINTS + 1, 3 * CURVE_POINTS - 1, 1000])
    def test_a_long_curve_is_thinned_out_without_losing_a_sample(self, steps):
        sizes = [1 + step % 5 for step in range(steps)]
        hits = [step % (size + 1) for step, size in enumerate(sizes)]
        curve = scored(hits, sizes).curve()
        assert len(curve) == CURVE_POINTS
        assert curve[-1][0] == sum(sizes)
        seen = [0] + [samples for samples, _ in curve]
        total = sum(
            accuracy * (after - before) for (_, accuracy), before, after in zip(curve, seen, seen[1:], strict=False)
        )
        assert total == pytest.approx(sum(hits))

    def test_steps_that_were_not_scored_are_left_out(self):
        online = scored([1, 0, 2], [4, 2, 2], only=(0, 2))
        assert (online.curve(), online.span()) == ([(4, 0.25), (6, 1.0)], 6)

    def test_few_batches_wait_in_a_long_phase(self, monkeypatch):
        sizes = [1 + step % 3 for step in range(200)]
        hits, only = [step % 2 for step in range(200)], set(range(3, 200)) - {50, 51, 120}
        expected = scored(hits, sizes, only=only)
        curve = expected.curve()
        monkeypatch.setattr(prequential, "MOST_PENDING", 16)
        waiting, shown = [], []
        update, labels = OnlineAccuracy.update, BatchLoader.labels_shown

        def noting(self, *args):
            update(self, *args)
            waiting.append(len(self._pending))

        def counting(self, first=0):
            shown.append(len(labels(self, first)))
            return labels(self, first)

        monkeypatch.setattr(OnlineAccuracy, "update", noting)
        monkeypatch.setattr(BatchLoader, "labels_shown", counting)
        online = scored(hits, sizes, only=only)
        assert online.curve() == curve
        assert [values.tolist() for values in online.by_step()] == [values.tolist() for values in expected.by_step()]
        assert max(waiting) == 15 and len(shown) == -(-len(only) // 16)
        assert max(shown) <= 3 * 19  # the labels of the batches that wait, and of those between them
        assert online.steps_scored == len(only)

    def test_asking_in_between_changes_nothing(self):
        loader = BatchLoader(Sized([4, 2, 2]))
        online = OnlineAccuracy(loader, Discrete(2))
        for batch in loader:
            online.update(torch.zeros_like(batch.y, dtype=torch.long), batch)
            online.curve()
        assert online.curve() == [(4, 1.0), (6, 1.0), (8, 1.0)]

    def test_state_is_gone_on_with(self):
        whole = scored([1, 0, 2], [4, 2, 2])
        first, resumed = (scored([1, 0, 2], [4, 2, 2], only) for only in ((0,), ()))
        rest = scored([1, 0, 2], [4, 2, 2], only=(1, 2))
        resumed.load_state_dict(
            {name: first.state_dict()[name] + rest.state_dict()[name] for name in ("hits", "sizes")}
        )
        assert resumed.curve() == whole.curve()
        assert first.curve() == [(4, 0.25)]


class TestPhase:
    @pytest.mark.parametrize("key", ["continual", "class_incremental"])
    def test_only_the_first_showing_of_a_sample_is_scored(self, key):
        phase = next(small_setting(key, passes=3).phases())
        for _ in range(phase.train.epochs):
            for batch in phase.train:
                phase.score(batch.y, batch)
        n_samples = phase.train.samples_served // 3
        assert phase.online.curve()[-1] == (n_samples, 1.0)

    def test_state_is_gone_on_with(self):
        setting = small_setting("class_incremental")
        phase, resumed, whole = (next(setting.phases()) for _ in range(3))
        for batch in whole.train:
            whole.score(batch.y % 2, batch)
        batches = iter(phase.train)
        batch = next(batches)
        phase.score(batch.y % 2, batch)
        resumed.load_state_dict(phase.state_dict())
        for batch in resumed.train:
            resumed.score(batch.y % 2, batch)
        assert resumed.online.curve() == whole.online.curve()
        assert resumed.train.state_dict() == whole.train.state_dict()

    @pytest.mark.parametrize("key", ["continual", "class_incremental"])
    @pytest.mark.parametrize("ahead", [1, 3, 1000])
    def test_reading_ahead_scores_the_right_samples(self, key, ahead):
        phase = next(small_setting(key, passes=3).phases())
        waiting = []
        for _ in range(phase.train.epochs):
            for batch in phase.train:
                waiting.append(batch)
                if len(waiting) > ahead:
                    oldest = waiting.pop(0)
                    phase.score(oldest.y, oldest)
        for batch in waiting:
            phase.score(batch.y, batch)
        assert phase.online.curve()[-1][0] == phase.train.samples_served // 3
        assert {accuracy for _, accuracy in phase.online.curve()} == {1.0}

    def test_the_labels_are_those_of_the_setting(self):
        phase = next(small_setting("class_incremental").phases())
        for batch in phase.train:
            truth = batch.y.clone()
            batch.y.zero_()
            phase.score(truth, batch._replace(y=torch.zeros_like(truth)))
        assert {accuracy for _, accuracy in phase.online.curve()} == {1.0}

    def test_predictions_are_taken_as_they_were(self):
        phase = next(small_setting("class_incremental").phases())
        for batch in phase.train:
            predictions = batch.y.clone()
            phase.score(predictions, batch)
            predictions.zero_()
        assert {accuracy for _, accuracy in phase.online.curve()} == {1.0}

    @pytest.mark.parametrize(
        "moved",
        [
            lambda batch: batch._replace(x=batch.x * 2),
            lambda batch: batch.to("cpu"),
            lambda batch: batch._replace(task_id=None).to("cpu", non_blocking=True),
        ],
    )
    def test_a_batch_stays_known_where_it_is_changed_or_moved(self, moved):
        phase = next(small_setting("class_incremental").phases())
        batch = moved(next(iter(phase.train)))
        phase.score(batch.y, batch)
        assert phase.online.curve() == [(16, 1.0)]

    def test_lightning_moves_a_batch_without_losing_what_it_is_known_by(self):
        from lightning_fabric.utilities import move_data_to_device

        phase = next(small_setting("class_incremental").phases())
        batch = move_data_to_device(next(iter(phase.train)), torch.device("cpu"))
        phase.score(batch.y, batch)

    def test_a_batch_is_its_three_leaves(self):
        batch = next(iter(next(small_setting("class_incremental").phases()).train))
        x, y, task_id = batch
        assert (x is batch.x, y is batch.y, task_id is batch.task_id) == (True, True, True)
        assert batch.leaves().keys() == {"x", "y", "task_id"}


WRONG = {
    "None": lambda y: None,
    "a list": lambda y: y.tolist(),
    "NumPy": lambda y: y.numpy(),
    "a column": lambda y: y[:, None],
    "a part": lambda y: y[:-1],
    "too many": lambda y: torch.cat([y, y]),
    "a number": lambda y: y[0],
    "scores": lambda y: torch.eye(10)[y],
    "floats": lambda y: y.float(),
    "truth values": lambda y: y > 0,
}
LATE = {
    "a class too high": lambda y: y.clone().fill_(99),
    "a class below zero": lambda y: y - 10,
}


class TestWrongPredictions:
    @pytest.mark.parametrize("predict", WRONG.values(), ids=WRONG)
    def test_form(self, predict):
        phase = next(small_setting("class_incremental").phases())
        batch = next(iter(phase.train))
        with pytest.raises(InvalidPredictionError, match=r"phase.score got .*; return classes \(16,\)") as caught:
            phase.score(predict(batch.y), batch)
        assert one_sentence(caught.value)
        phase.score(batch.y, batch)
        assert phase.online.curve() == [(16, 1.0)]

    def test_form_of_repeats(self):
        phase = next(small_setting("continual").phases())
        _, again = (next(iter(phase.train)) for _ in range(2))
        with pytest.raises(InvalidPredictionError):
            phase.score(None, again)

    @pytest.mark.parametrize("end", [lambda phase: phase.close(), lambda phase: phase.state_dict()])
    @pytest.mark.parametrize("predict", LATE.values(), ids=LATE)
    def test_values(self, predict, end):
        phase = next(small_setting("class_incremental").phases())
        batch = next(iter(phase.train))
        phase.score(predict(batch.y), batch)
        with pytest.raises(InvalidPredictionError, match=r"phase.score got .*, but the classes are 0 to 9") as caught:
            end(phase)
        assert one_sentence(caught.value)

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_numbers(self, value):
        phase = next(small_setting("continual", dataset=line()).phases())
        batch = next(iter(phase.train))
        with pytest.raises(InvalidPredictionError, match=r"return the numbers \(16,\)"):
            phase.score(batch.y[:, None], batch)
        phase.score(torch.full_like(batch.y, value), batch)
        with pytest.raises(InvalidPredictionError, match=f"phase.score got {value}"):
            phase.close()

    def test_batches_that_are_not_the_phases_own(self):
        setting = small_setting("class_incremental", validation=0.2)
        phase, other = (next(setting.phases()) for _ in range(2))
        batch = next(iter(phase.train))
        foreign = [next(iter(loader)) for loader in (other.train, phase.validation)]
        made = [Batch(*batch), Batch(batch.x[:4], batch.y[:4], batch.task_id[:4]), batch.y, tuple(batch), None]
        for wrong in [*foreign, *made]:
            with pytest.raises(InvalidPredictionError, match=r"that phase\.train has not yielded") as caught:
                phase.score(batch.y, wrong)
            assert one_sentence(caught.value)

    def test_a_slice_of_a_batch(self):
        phase = next(small_setting("class_incremental").phases())
        batch = next(iter(phase.train))
        with pytest.raises(InvalidPredictionError, match="for 16 samples"):
            phase.score(batch.y[:4], batch._replace(x=batch.x[:4], y=batch.y[:4]))

    def test_a_second_call(self):
        phase = next(small_setting("class_incremental").phases())
        batch = next(iter(phase.train))
        phase.score(batch.y, batch)
        with pytest.raises(InvalidPredictionError, match="for the second time"):
            phase.score(batch.y, batch)
        assert phase.online.curve() == [(16, 1.0)]


class TestClose:
    @pytest.mark.parametrize("key", ["continual", "class_incremental", "traditional"])
    def test_nothing_is_served_or_scored_any_more(self, key):
        phase = next(small_setting(key, validation=0.2).phases())
        batch, started = next(iter(phase.train)), iter(phase.validation)
        phase.score(batch.y, batch)
        phase.close()
        for use in (
            lambda: next(iter(phase.train)),
            lambda: next(iter(phase.validation)),
            lambda: next(started),
            lambda: phase.score(batch.y, batch),
            phase.train.state_dict,
        ):
            with pytest.raises(PhaseOverError, match="The phase is over") as caught:
                use()
            assert one_sentence(caught.value)
        assert (phase.online.curve(), phase.samples_served) == ([(16, 1.0)], 16)
        phase.close()

    @pytest.mark.parametrize("key", ["continual", "class_incremental"])
    @pytest.mark.few(1)
    def test_the_data_are_let_go(self, key):
        """A method may keep its phases, and be sent to another process with them."""
        phase = next(small_setting(key, validation=0.2).phases())
        list(phase.train), list(phase.validation)
        sequence = weakref.ref(_SEQUENCES[phase.train])
        phase.close()
        gc.collect()
        assert sequence() is None
        assert pickle.loads(pickle.dumps(phase)).samples_served == phase.samples_served > 0

    def test_held_out_samples_can_be_gone_through_any_number_of_times(self):
        phase = next(small_setting("class_incremental", validation=0.2).phases())
        next(iter(phase.validation))  # and stop, as a check before training does
        first, again = (torch.cat([batch.y for batch in phase.validation]) for _ in range(2))
        assert torch.equal(first, again)
        assert len(first) > 0
