"""What methods that cheat are compared with, and the settings that they try it on."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from _pytest.mark import ParameterSet
from torch import Tensor

from redwood.methods.base import Method
from redwood.methods.training.heads import count_outputs
from redwood.settings import SETTINGS, get_setting
from redwood.settings.assumptions import Assumptions, Context, TaskIds
from redwood.settings.base import Setting
from redwood.settings.batch import Batch
from redwood.settings.scores.results import Results
from redwood.settings.streams.phase import Phase
from redwood.settings.supervised import SupervisedSetting
from tests.methods.helpers import one_sentence
from tests.small_runs import kind_of_stream, run_here, small_setting

ALONE = [
    key for key in SETTINGS if get_setting(key).assumptions.labels and get_setting(key).assumptions.workers.low == 1
]


def where(condition: Callable[[Assumptions], bool]) -> list[str]:
    """The supervised settings on one worker whose promises fulfil a condition."""
    return [key for key in ALONE if condition(get_setting(key).assumptions)]


def once(keys: Iterable[str]) -> list[ParameterSet]:
    """Settings as parameters of a test: the first one of each kind of stream and phases, and the others as `slow`."""
    keys, first = list(keys), dict[object, str]()
    for key in keys:
        first.setdefault((kind_of_stream(key), get_setting(key).assumptions.boundaries), key)
    return [pytest.param(key, marks=[] if key in first.values() else [pytest.mark.slow]) for key in keys]


EVERYWHERE = where(lambda promised: True)
SEVERAL_PHASES = where(
    lambda promised: promised.boundaries and promised.context < Context.STATIONARY and not promised.predict_first
)
UNANNOUNCED = where(lambda promised: not promised.boundaries and not promised.predict_first)
# Elsewhere the setting asks for the predictions itself, and there is no test after the stream.
TESTED_LATER = where(lambda promised: not promised.predict_first)
IDS_HIDDEN_AT_TEST = [key for key in where(lambda promised: promised.task_ids < TaskIds.TEST) if key in TESTED_LATER]


@dataclass
class Honest(Method):
    """A linear network, one step of gradient descent for each batch; it forgets."""

    target: ClassVar[type[Setting]] = SupervisedSetting

    def configure(self, setting: SupervisedSetting) -> None:
        self.setting = setting
        self.weights = torch.zeros(64, count_outputs(setting.action_space))

    def fit(self, phase: Phase) -> None:
        for _ in range(phase.train.epochs):
            for batch in phase.train:
                self.score(phase, batch)
                self.learn(batch)

    def score(self, phase: Phase, batch: Batch) -> None:
        phase.score(self.scores(batch.x).argmax(1), batch)

    def learn(self, batch: Batch) -> None:
        x, wanted = batch.x.flatten(1) / 16, torch.eye(self.weights.shape[1])[batch.y]
        self.weights += 0.02 * x.T @ (wanted - self.scores(batch.x).softmax(1))

    def scores(self, x: Tensor) -> Tensor:
        return (x.flatten(1) / 16) @ self.weights

    def predict(self, x: Tensor, task_id: Tensor | None) -> Tensor:
        return self.scores(x)


def run(key: str, method: Method, **options: object) -> Results:
    return run_here(small_setting(key, **options), method)


def refused(key: str, method: Method, error: type[Exception], sentence: str, **options: object) -> None:
    """The cheat ends the run, in one sentence."""
    with pytest.raises(error, match=sentence) as caught:
        run(key, method, **options)
    assert one_sentence(caught.value)


def scores_alike(key: str, method: Method, **options: object) -> None:
    """The cheat brings nothing, and does no harm."""
    results, honest = run(key, method, **options), run(key, Honest(), **options)
    assert results.accuracy_matrix == honest.accuracy_matrix
    assert results.online_curve == honest.online_curve
