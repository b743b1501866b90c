"""Methods that cheat: each is told so in a sentence, or scores no more than its honest twin.

What no Python program can prevent is left out: closures, running frames, the garbage collector and a setting of the
same options that a method makes itself. Nor is that a method scores the labels of a batch as its own predictions: they
come with it. Cheats that look where they should not are in `test_cheating_by_looking.py`; scores that a phase refuses
are in `settings/streams/test_phase.py`.
"""

import copy
import pickle
from itertools import chain

import pytest
import torch

from redwood.core.errors import PhaseOverError
from redwood.settings import ClassSplit
from tests.cheats import EVERYWHERE, SEVERAL_PHASES, TESTED_LATER, UNANNOUNCED, Honest, once, refused, run, scores_alike


def test_the_honest_one_learns_and_forgets():
    """There is something to be gained by cheating."""
    assert (
        run("traditional", Honest(), passes=10).objective
        > run("class_incremental", Honest(), passes=10).objective + 0.2
    )
    assert run("cumulative", Honest()).metrics["online_accuracy"] > 0.2


# More training than the passes allow.


class GoesOn(Honest):
    def fit(self, phase):
        for _ in range(3):
            super().fit(phase)


class SaysMoreEpochs(Honest):
    def fit(self, phase):
        phase.train.epochs = phase.train.passes = phase.train._length = 9
        super().fit(phase)


class TakesManyIterators(Honest):
    """Each of them would serve a whole epoch, if they did not share the position."""

    def fit(self, phase):
        for _ in range(phase.train.epochs):
            iterators = [iter(phase.train) for _ in range(3)]
            for step in range(len(phase.train)):
                batch = next(iterators[step % 3])
                self.score(phase, batch)
                self.learn(batch)
            for batch in chain(*iterators):
                self.learn(batch)


class Rewinds(Honest):
    def fit(self, phase):
        start = phase.train.state_dict()
        super().fit(phase)
        phase.train.load_state_dict(start)


class RewindsThePhase(Honest):
    def fit(self, phase):
        start = phase.state_dict()
        super().fit(phase)
        phase.load_state_dict(start)


class Copies(Honest):
    def fit(self, phase):
        spare = copy.deepcopy(phase)
        super().fit(phase)
        super().fit(spare)


class Pickles(Honest):
    def fit(self, phase):
        spare = pickle.loads(pickle.dumps(phase.train))
        super().fit(phase)
        phase.train = spare
        super().fit(phase)


@pytest.mark.parametrize("key", once(EVERYWHERE))
class TestMoreTraining:
    @pytest.mark.parametrize("cheat", [GoesOn, SaysMoreEpochs])
    def test_further_epochs(self, key, cheat):
        refused(key, cheat(), PhaseOverError, r"gone through \d+ times, which is all that the setting allows")

    @pytest.mark.parametrize("cheat", [Rewinds, RewindsThePhase])
    def test_going_back(self, key, cheat):
        refused(key, cheat(), PhaseOverError, "A stream does not go back")

    @pytest.mark.parametrize("cheat", [Copies, Pickles])
    def test_copies(self, key, cheat):
        refused(key, cheat(), PhaseOverError, "The phase is over")

    def test_several_iterators(self, key):
        scores_alike(key, TakesManyIterators())


# Earlier phases.


class KeepsPhases(Honest):
    """Free data of all earlier tasks, and no buffer to account for."""

    def __init__(self, part="train"):
        self.part, self.kept = part, []

    def fit(self, phase):
        super().fit(phase)
        for earlier in self.kept:
            for batch in earlier:
                self.learn(batch)
        self.kept.append(getattr(phase, self.part))


class KeepsIterators(KeepsPhases):
    """Some batches of each phase are put off until it is over."""

    def fit(self, phase):
        batches = iter(phase.train)
        self.learn(next(batches))
        for earlier in self.kept:
            for batch in earlier:
                self.learn(batch)
        self.kept.append(batches)


class ScoresLater(KeepsPhases):
    """Predictions for the first task, made by what the second one has taught."""

    def fit(self, phase):
        batches = list(phase.train)
        for earlier, batch in self.kept:
            self.score(earlier, batch)
        self.kept = [(phase, batch) for batch in batches]


@pytest.mark.parametrize("key", once(SEVERAL_PHASES))
class TestEarlierPhases:
    @pytest.mark.parametrize("part", ["train", "validation"])
    def test_loaders_that_are_kept(self, key, part):
        refused(key, KeepsPhases(part), PhaseOverError, "The phase is over", validation=0.2)

    def test_iterators_that_are_kept(self, key):
        refused(key, KeepsIterators(), PhaseOverError, "The phase is over")

    def test_scores_that_come_late(self, key):
        refused(key, ScoresLater(), PhaseOverError, "The phase is over")


@pytest.mark.parametrize("key", once(TESTED_LATER))
@pytest.mark.parametrize("part", ["train", "validation"])
def test_at_test_time_the_phase_is_over(key, part):
    class LearnsAtTest(Honest):
        phase = None

        def fit(self, phase):
            super().fit(phase)
            self.phase = phase

        def predict(self, x, task_id):
            for batch in getattr(self.phase, part, ()):
                self.learn(batch)
            return super().predict(x, task_id)

    refused(key, LearnsAtTest(), PhaseOverError, "The phase is over|gone through", validation=0.2)


def told(method):
    """What a worker's copy of the cheat is told."""
    try:
        run("distributed_class_incremental", method)
    except PhaseOverError as error:
        return str(error)


@pytest.mark.parametrize(("method", "sentence"), [(GoesOn(), "gone through"), (KeepsPhases(), "The phase is over")])
def test_all_workers_are_told(two_workers, method, sentence):
    assert all(sentence in answer for answer in two_workers.run(told, method))


# Held-out samples of what is still to come.


class ReadsTheFuture(Honest):
    """Learns what validation data there are before the stream starts."""

    found = 0

    def fit(self, phase):
        for batch in phase.validation:
            self.found += len(batch.y)
            self.learn(batch)
        super().fit(phase)


class WatchesTheOrder(Honest):
    """Takes the held-out samples that come last for the last task."""

    order: tuple[int, ...] = ()

    def fit(self, phase):
        super().fit(phase)
        self.order = tuple(int(label) for batch in phase.validation for label in batch.y)


@pytest.mark.parametrize("key", once(UNANNOUNCED))
class TestHeldOutSamples:
    def test_none_is_there_before_the_stream_has_come_by(self, key):
        method = ReadsTheFuture()
        scores_alike(key, method, validation=0.3)
        assert method.found == 0

    def test_their_order_says_nothing(self, key):
        method = WatchesTheOrder()
        run(key, method, validation=0.6, stream=ClassSplit(class_order=range(10)), transition="abrupt")
        tasks = torch.tensor([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])[list(method.order)]
        assert len(tasks) > 90
        first, last = tasks[: len(tasks) // 2].float(), tasks[len(tasks) // 2 :].float()
        assert abs(float(first.mean() - last.mean())) < 0.35, "sorted, they would differ by more than 1"
