"""Evaluation tells a method no more than its setting promises: not by the order of batches, nor by what is in one."""

from collections import Counter
from dataclasses import dataclass, field

import gymnasium
import numpy as np
import pytest
import torch

from redwood.core.errors import RedwoodError
from redwood.methods.base import Method
from redwood.settings.rl.setting import ReinforcementSetting
from redwood.settings.rl.tree import (
    ContinualRLSetting,
    IncrementalRLSetting,
    MultiTaskRLSetting,
    TaskAgnosticRLSetting,
    TaskIncrementalRLSetting,
    TraditionalRLSetting,
)
from redwood.settings.tree import ClassIncrementalSetting
from tests.settings.rl.clock import OneRightAction
from tests.small_runs import run_here

HIDDEN = [ContinualRLSetting, TaskAgnosticRLSetting, IncrementalRLSetting, TraditionalRLSetting]


class Door(OneRightAction):
    """Each task has one action that is right; nothing that is seen tells which, but for whoever knows `mark`."""

    def __init__(self, right, length=5):
        super().__init__(right, length, 100, gymnasium.spaces.Box(-100, 100, (2,), np.float32))

    def shown(self):
        return np.array([0, self.np_random.random()], dtype=np.float32)


class MarkedDoor(Door):
    def shown(self):
        return np.array([self.right, self.np_random.random()], dtype=np.float32)


def doors(cls, kind=Door, lengths=(5, 5, 5), **options):
    envs = [lambda right=right, length=length: kind(right, length) for right, length in enumerate(lengths)]
    return cls(**{"env": envs, "steps_per_task": 20, "max_episode_steps": 50, "test_episodes": 8} | options)


@dataclass
class Counting(Method):
    """Takes what every call so far would tell for the task, if tasks came one after the other.

    It learns how many calls an evaluation makes, and shares them out to the tasks.
    """

    target = ReinforcementSetting
    seen: list = field(default_factory=list)

    def configure(self, setting):
        self.seen, self.length = [], None

    def fit(self, phase):
        if self.length is None:
            self.length = len(self.seen)
        self.seen = []
        phase.play(lambda x, task_id: torch.zeros(len(x), dtype=torch.long))

    def predict(self, x, task_id):
        self.seen.append(len(x))
        return self.answer(x)

    def answer(self, x):
        task = 0 if not self.length else min(3 * (len(self.seen) - 1) // self.length, 2)
        return torch.full((len(x),), task)


class ByPlace(Counting):
    """Takes the place in the batch for the task."""

    def answer(self, x):
        return torch.arange(len(x)) * 3 // len(x)


class Constant(Counting):
    """What is blind to tasks: the same for all."""

    def answer(self, x):
        return torch.full((len(x),), 2)


def score(setting, method):
    return run_here(setting, method).metrics["average_return"]


@pytest.mark.parametrize("cls", HIDDEN)
@pytest.mark.parametrize("cheat", [Counting, ByPlace])
def test_neither_the_number_of_calls_nor_the_place_in_a_batch_tells_the_task(cls, cheat):
    blind = score(doors(cls), Constant())
    assert blind == pytest.approx(5 / 3)
    assert score(doors(cls), cheat()) < blind + 0.8


def test_of_a_supervised_setting_neither():
    setting = IncrementalRLSetting(env=ClassIncrementalSetting(nb_tasks=5), steps_per_task=10)

    class Class(Counting):
        def answer(self, x):
            return torch.full((len(x),), 2 * min(5 * (len(self.seen) - 1) // (self.length or 5), 4))

    assert score(setting, Class()) < 0.16


@dataclass
class Watching(Counting):
    batches: list = field(default_factory=list)

    def predict(self, x, task_id):
        self.batches.append((x[:, 0].long().tolist(), task_id))
        return x[:, 0].long()


def test_a_batch_holds_as_many_of_each_task_in_an_order_of_its_own():
    """To the end: small batches, and late ones, would be those of the task with the longest episodes."""
    watching = Watching()
    results = run_here(doors(TraditionalRLSetting, MarkedDoor, lengths=(5, 7, 40)), watching)
    marks = [batch for batch, _ in watching.batches]
    assert {tuple(sorted(Counter(batch).items())) for batch in marks} == {((0, 8), (1, 8), (2, 8))}
    assert len({tuple(batch) for batch in marks}) == len(marks) == 40
    assert results.return_matrix == [[5, 7, 40]]


def test_many_tasks_are_still_one_batch():
    watching = Watching()
    run_here(doors(IncrementalRLSetting, MarkedDoor, lengths=[2] * 70, test_episodes=2, steps_per_task=1), watching)
    assert {len(batch) for batch, _ in watching.batches} == {70}


@pytest.mark.parametrize("cls", [TaskIncrementalRLSetting, MultiTaskRLSetting])
def test_where_ids_are_told_they_come_with_each_observation(cls):
    watching = Watching()
    results = run_here(doors(cls, MarkedDoor), watching)
    assert all(batch == told.tolist() for batch, told in watching.batches)
    assert results.return_matrix[-1] == [5, 5, 5]


def test_the_same_episodes_as_of_one_task_alone():
    """An agent that goes by the observation alone scores as if tasks were played one by one, bit for bit."""

    def act(x):
        return (x.sum(1) > 0).long()

    class Reflex(Counting):
        def answer(self, x):
            return act(x)

    rows = [
        run_here(cls(env="CartPole-v1", steps_per_task=20, test_episodes=10), Reflex()).return_matrix[-1]
        for cls in (IncrementalRLSetting, TaskIncrementalRLSetting)
    ]
    assert rows[0] == rows[1]
    assert len(set(rows[0])) == 3


@pytest.mark.parametrize("answer", [None, 0, torch.tensor(0), torch.zeros(2)])
def test_answers_that_are_no_actions(answer):
    class Wrong(Constant):
        def answer(self, x):
            return answer

    with pytest.raises(RedwoodError, match="return one action for each"):
        score(doors(HIDDEN[0]), Wrong())
