"""Methods that cheat under `osaka`: labels cannot be had before predictions, whatever a method does."""

import pytest
import torch

from redwood.core.errors import HiddenError
from tests.cheats import Honest, refused, run, scores_alike

KEY = "osaka"


class ScoresLabels(Honest):
    """Hands in the labels as its predictions, which counts nothing: the setting asks for itself."""

    def score(self, phase, batch):
        phase.score(batch.y, batch)


class ScoresAnything(Honest):
    def score(self, phase, batch):
        phase.score(None, batch)


class AsksForTheNextBatch(Honest):
    """Takes a batch while it is asked about that batch, in the hope of its labels."""

    def fit(self, phase):
        self.phase = phase
        super().fit(phase)

    def predict(self, x, task_id):
        for batch in self.phase.train:
            self.learn(batch)
            break
        return super().predict(x, task_id)


class ReadsAhead(Honest):
    """Goes through the whole stream, and hopes to be asked for its predictions later."""

    def fit(self, phase):
        self.seen = [batch for batch in phase.train]
        for batch in self.seen * 20:
            self.learn(batch)

    def predict(self, x, task_id):
        for batch in getattr(self, "seen", ()):
            if torch.equal(batch.x, x):
                return batch.y
        return super().predict(x, task_id)


class Remembers(Honest):
    """Keeps each labelled sample, to recognise it when it is asked for again."""

    def configure(self, setting):
        super().configure(setting)
        self.known = {}

    def learn(self, batch):
        self.known |= {tuple(x.flatten().tolist()): int(y) for x, y in zip(batch.x, batch.y, strict=True)}

    def predict(self, x, task_id):
        return torch.tensor([self.known.get(tuple(one.flatten().tolist()), 0) for one in x])


class PredictsLater(Honest):
    """Answers with a tensor into which it writes the labels once they have come."""

    def predict(self, x, task_id):
        self.answer = super().predict(x, task_id)
        return self.answer

    def learn(self, batch):
        self.answer.copy_(100.0 * torch.eye(4)[batch.y])
        super().learn(batch)


class GoesByThePlace(Honest):
    """Takes the place of a sample in its batch for its label: all batches have as many samples of each class."""

    def predict(self, x, task_id):
        return torch.arange(len(x)) * 4 // len(x)


class LearnsFromEpisodesOnly(Honest):
    """Scores itself in pre-training, where it knows the labels."""

    def score(self, phase, batch):
        if phase.pretraining:
            phase.score(batch.y, batch)


@pytest.mark.parametrize("cheat", [ScoresLabels, ScoresAnything, PredictsLater])
def test_what_brings_nothing(cheat):
    scores_alike(KEY, cheat(), timesteps=30)


def test_reading_ahead_is_worth_no_more_than_not_learning():
    """It is asked for each mini-batch just before it gets the labels, so all of its learning comes too late."""
    assert run(KEY, ReadsAhead(), timesteps=40).objective == run(KEY, Blank(), timesteps=40).objective


class Blank(Honest):
    def learn(self, batch):
        pass


def test_a_batch_that_is_taken_while_it_is_asked_for_is_never_served():
    refused(KEY, AsksForTheNextBatch(), HiddenError, "cannot be taken while the setting asks")


def test_labels_of_an_earlier_visit_are_no_use_after_a_switch():
    """Labels are permuted, so a sample that comes back has another label, but by chance."""
    results = run(KEY, Remembers(), timesteps=300, stay_probability=0.0)
    assert abs(results.objective - 0.25) < 0.03


def test_the_place_in_a_batch_tells_nothing():
    results = run(KEY, GoesByThePlace(), timesteps=300, stay_probability=0.5)
    assert abs(results.objective - 0.25) < 0.03


def test_episodes_are_not_scored():
    options = {"pretraining": 5, "query_shots": 2, "timesteps": 20}
    assert len(run(KEY, LearnsFromEpisodesOnly(), **options).online_curve) == 20
