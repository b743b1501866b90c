"""What methods that cheat are compared with, and the settings that they try it on."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from redwood.methods.base import Method
from redwood.settings import SETTINGS, get_setting
from redwood.settings.assumptions import Context, TaskIds
from redwood.settings.supervised import SupervisedSetting
from tests.methods.helpers import one_sentence
from tests.small_runs import run_here, small_setting

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
