"""Methods that cheat: each is told so in a sentence, or scores no more than its honest twin.

What no Python program can prevent is left out: closures, running frames, the garbage collector and a setting of the
same options that a method makes itself. Nor is that a method scores the labels of a batch as its own predictions: they
come with it. Cheats in environments have tests of their own.
"""

import copy
import pickle
from dataclasses import dataclass
from itertools import chain

import pytest
import torch
from torch import Tensor

from redwood.methods.base import Method
from redwood.settings import SETTINGS, get_setting
from redwood.settings.assumptions import Context, TaskIds
from redwood.settings.batch import Batch
from redwood.settings.errors import (
    HiddenError,
    InvalidOptionError,
    InvalidPredictionError,
    PhaseOverError,
    RedwoodError,
)
from redwood.settings.supervised import SupervisedSetting
from tests.methods.helpers import one_sentence
from tests.runs import run_here, small_setting
from tests.samples import few_digits

DATA = few_digits()
ALONE = [
    key for key in SETTINGS if get_setting(key).assumptions.labels and get_setting(key).assumptions.workers.low == 1
]


def where(condition):
    """The supervised settings on one worker whose promises fulfil a condition."""
    return [key for key in ALONE if condition(get_setting(key).assumptions)]


EVERYWHERE = where(lambda promised: True)
SEVERAL_PHASES = where(lambda promised: promised.boundaries and promised.context < Context.STATIONARY)
UNANNOUNCED = where(lambda promised: not promised.boundaries)
IDS_HIDDEN_AT_TEST = where(lambda promised: promised.task_ids < TaskIds.TEST)


@dataclass
class Honest(Method):
    """A linear network, one step of gradient descent for each batch; it forgets."""

    target = SupervisedSetting

    def configure(self, setting):
        self.setting = setting
        self.weights = torch.zeros(64, int(setting.action_space.n))

    def fit(self, phase):
        for _ in range(phase.train.epochs):
            for batch in phase.train:
                self.score(phase, batch)
                self.learn(batch)

    def score(self, phase, batch):
        phase.score(self.scores(batch.x).argmax(1), batch)

    def learn(self, batch):
        x, wanted = batch.x.flatten(1) / 16, torch.eye(self.weights.shape[1])[batch.y]
        self.weights += 0.02 * x.T @ (wanted - self.scores(batch.x).softmax(1))

    def scores(self, x: Tensor) -> Tensor:
        return (x.flatten(1) / 16) @ self.weights

    def predict(self, x, task_id):
        return self.scores(x)


def run(key, method, **options):
    return run_here(small_setting(key, **options), method)


def refused(key, method, error, sentence, **options):
    """The cheat ends the run, in one sentence."""
    with pytest.raises(error, match=sentence) as caught:
        run(key, method, **options)
    assert one_sentence(caught.value)


def scores_alike(key, method, **options):
    """The cheat brings nothing, and does no harm."""
    results, honest = run(key, method, **options), run(key, Honest(), **options)
    assert results.accuracy_matrix == honest.accuracy_matrix
    assert results.online_curve == honest.online_curve


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


@pytest.mark.parametrize("key", EVERYWHERE)
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


@pytest.mark.parametrize("key", SEVERAL_PHASES)
class TestEarlierPhases:
    @pytest.mark.parametrize("part", ["train", "validation"])
    def test_loaders_that_are_kept(self, key, part):
        refused(key, KeepsPhases(part), PhaseOverError, "The phase is over", validation=0.2)

    def test_iterators_that_are_kept(self, key):
        refused(key, KeepsIterators(), PhaseOverError, "The phase is over")

    def test_scores_that_come_late(self, key):
        refused(key, ScoresLater(), PhaseOverError, "The phase is over")


@pytest.mark.parametrize("key", EVERYWHERE)
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


@pytest.mark.parametrize("key", UNANNOUNCED)
class TestHeldOutSamples:
    def test_none_is_there_before_the_stream_has_come_by(self, key):
        method = ReadsTheFuture()
        scores_alike(key, method, validation=0.3)
        assert method.found == 0

    def test_their_order_says_nothing(self, key):
        method = WatchesTheOrder()
        run(key, method, validation=0.6, class_order=range(10), transition="abrupt")
        tasks = torch.tensor([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])[list(method.order)]
        assert len(tasks) > 90
        first, last = tasks[: len(tasks) // 2].float(), tasks[len(tasks) // 2 :].float()
        assert abs(float(first.mean() - last.mean())) < 0.35, "sorted, they would differ by more than 1"


# Scores of one's own making.


def answers(y: Tensor) -> dict[str, object]:
    """Predictions that would be worth more than they are, or nothing at all."""
    return {
        "a column, compared with each label": y[:, None],
        "each of them twice": torch.cat([y, y]),
        "those that one is sure of": y[:3],
        "truth": torch.ones(len(y), dtype=torch.bool),
        "floats": y.float(),
        "scores": torch.eye(10)[y],
        "an array": y.numpy(),
        "None": None,
    }


class ScoresOddly(Honest):
    def __init__(self, kind):
        self.kind = kind

    def score(self, phase, batch):
        phase.score(answers(batch.y)[self.kind], batch)


class ScoresInTheEnd(Honest):
    """Values are not looked at before the end of the phase, for speed."""

    def score(self, phase, batch):
        phase.score(torch.full_like(batch.y, 99), batch)


class InventsLabels(Honest):
    """Says that the labels are what it has predicted."""

    def score(self, phase, batch):
        guess = self.scores(batch.x).argmax(1)
        phase.score(guess, batch._replace(y=guess))
        batch.y.copy_(batch.y)


class InventsBatches(Honest):
    def score(self, phase, batch):
        guess = self.scores(batch.x).argmax(1)
        phase.score(guess, Batch(batch.x, guess, batch.task_id))


class PicksSamples(Honest):
    def score(self, phase, batch):
        guess = self.scores(batch.x).argmax(1)
        right = guess == batch.y
        phase.score(guess[right], batch._replace(x=batch.x[right], y=batch.y[right]))


class ScoresTwice(Honest):
    """Before learning and, as it looks better, behind it."""

    def learn(self, batch):
        super().learn(batch)
        super().score(self.phase, batch)

    def score(self, phase, batch):
        self.phase = phase
        super().score(phase, batch)


class ScoresValidation(Honest):
    def fit(self, phase):
        super().fit(phase)
        for batch in phase.validation:
            self.score(phase, batch)


class ScoresRepeats(Honest):
    """Leaves the first showing out, and scores the second one, which it has learned from."""

    def score(self, phase, batch):
        if not batch.first_pass:
            super().score(phase, batch)


@pytest.mark.parametrize("key", EVERYWHERE)
class TestScores:
    @pytest.mark.parametrize("kind", answers(torch.zeros(4, dtype=torch.long)))
    def test_forms(self, key, kind):
        refused(key, ScoresOddly(kind), InvalidPredictionError, "phase.score got ")

    def test_values(self, key):
        refused(key, ScoresInTheEnd(), InvalidPredictionError, "phase.score got 99, but the classes are 0 to ")

    @pytest.mark.parametrize("cheat", [InventsBatches, ScoresValidation])
    def test_batches_of_another_source(self, key, cheat):
        refused(key, cheat(), InvalidPredictionError, "has not yielded", validation=0.2)

    def test_a_part_of_a_batch(self, key):
        refused(key, PicksSamples(), InvalidPredictionError, r"for \d+ samples")

    def test_the_same_batch_again(self, key):
        refused(key, ScoresTwice(), InvalidPredictionError, "for the second time")

    def test_labels_of_ones_own(self, key):
        scores_alike(key, InventsLabels())

    def test_repeats(self, key):
        assert run(key, ScoresRepeats()).online_curve == []


# What the setting keeps to itself.


class AsksTheView(Honest):
    def __init__(self, ask):
        self.ask = ask

    def configure(self, setting):
        super().configure(setting)
        self.ask(setting)


ASKED = {
    "the stream": lambda view: view.open_stream(),
    "the stream, of the class": lambda view: type(view).open_stream(view),
    "the stream, where it is cached": lambda view: view._stream,
    "phases": lambda view: next(view.phases()),
    "a run within the run": lambda view: view.apply(Honest(), quiet=True),
    "test samples": lambda view: view.open_stream().samples_of(0, test=True),
    "a copy": lambda view: pickle.loads(pickle.dumps(view)).open_stream(),
}


class MorePasses(Honest):
    def configure(self, setting):
        super().configure(setting)
        setting.passes = 50


class MorePassesByForce(Honest):
    """The view is the method's own: what it writes into it is read by nobody else."""

    def configure(self, setting):
        super().configure(setting)
        vars(setting).update(passes=50, seed=3, validation=0.5, nb_tasks=1)
        for options in (setting.increment, setting.class_order):
            if options is not None:
                options.append(7)
        for space in (setting.observation_space, setting.action_space):
            vars(space).update(n=3, start=1)


@pytest.mark.parametrize("key", EVERYWHERE)
class TestView:
    @pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
    def test_no_data(self, key, ask):
        refused(key, AsksTheView(ask), HiddenError, "is not for methods")
        refused(key, AsksTheView(ask), HiddenError, "is not for methods", dataset="digits")

    def test_options_are_fixed(self, key):
        refused(key, MorePasses(), InvalidOptionError, "passes of .* is fixed once the setting is made")

    def test_options_by_force(self, key):
        scores_alike(key, MorePassesByForce())


def attribute(value, name):
    try:
        return getattr(value, name)
    except RedwoodError:
        return None


class LooksEverywhere(Honest):
    """Follows all attributes of all that it is given, and notes down whatever is as long as a phase or a test set."""

    def __init__(self):
        self.found = []

    def configure(self, setting):
        super().configure(setting)
        self.look(setting)

    def fit(self, phase):
        batches = iter(phase.train)
        batch = next(batches)
        self.look(phase, batches, batch)
        self.score(phase, batch)
        self.learn(batch)
        if phase.train.samples_served < sum(phase.train.sizes) * phase.train.passes:
            super().fit(phase)

    def look(self, *given):
        """Collect tensors that tell of more than one batch: samples, labels or tasks."""
        waiting, seen = list(given), {}
        while waiting:
            value = waiting.pop()
            if id(value) in seen or isinstance(value, type):
                continue
            seen[id(value)] = value
            if isinstance(value, Tensor):
                if len(value.shape) and len(value) > 16 and value.any():
                    self.found.append(value)
            elif isinstance(value, dict):
                waiting += value.values()
            elif isinstance(value, list | tuple | set):
                waiting += value
            elif type(value).__module__.startswith("redwood"):
                waiting += vars(value).values() if hasattr(value, "__dict__") else ()
                waiting += [attribute(value, name) for name in dir(value) if not name.startswith("__")]


@pytest.mark.parametrize("key", EVERYWHERE)
@pytest.mark.parametrize("validation", [0, 0.2])
def test_no_attribute_leads_to_more_than_the_batch(key, validation):
    method = LooksEverywhere()
    run(key, method, validation=validation)
    assert method.found == []


# What the order of an evaluation could tell.


class RulesOut(Honest):
    """Rules out the classes of all tasks but one, which it guesses: of each sample alone, or by its place."""

    def __init__(self, by_place):
        self.by_place = by_place

    def predict(self, x, task_id):
        task = torch.arange(len(x)) * 3 // len(x) if self.by_place else torch.randint(3, (len(x),))
        groups = torch.tensor([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
        return self.scores(x).masked_fill(groups != task[:, None], -torch.inf)


@pytest.mark.parametrize("key", [key for key in IDS_HIDDEN_AT_TEST if "domain" not in key])
def test_the_place_of_a_test_sample_tells_no_task(key):
    """Sorted by task, place would be worth as much as an id: about .9."""
    by_place, guessed = (run(key, RulesOut(by_place), class_order=range(10), passes=1) for by_place in (True, False))
    assert by_place.objective <= guessed.objective + 0.15


WRONG_ANSWERS = {
    "a class that is none": lambda scores: torch.full((len(scores),), 99),
    "a column": lambda scores: scores.argmax(1)[:, None],
    "a part": lambda scores: scores.argmax(1)[:5],
    "floats": lambda scores: scores.argmax(1).float(),
    "no number": lambda scores: scores * torch.nan,
    "an array": lambda scores: scores.numpy(),
    "None": lambda scores: None,
}


@pytest.mark.parametrize("key", EVERYWHERE)
@pytest.mark.parametrize("answer", WRONG_ANSWERS.values(), ids=WRONG_ANSWERS)
def test_answers_of_another_form(key, answer):
    class Answers(Honest):
        def predict(self, x, task_id):
            return answer(super().predict(x, task_id))

    refused(key, Answers(), InvalidPredictionError, "predict returned ")
