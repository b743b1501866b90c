"""Agents that cheat, one for each leak: they fail, or score no more than an honest one that acts alike."""

import functools
import types
from collections.abc import Mapping
from dataclasses import dataclass, field

import gymnasium
import numpy as np
import pytest
import torch

from redwood.core.errors import RedwoodError
from redwood.methods.base import Method
from redwood.settings.rl.budget import BudgetSpentError, PhaseOverError
from redwood.settings.rl.plain_state import NotPlainError
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
from tests.leak_check import finds_test_data
from tests.samples import numbered
from tests.settings.rl.clock import Clock, OtherClock, clock
from tests.small_runs import run_here

ALONE = [
    ContinualRLSetting,
    TaskAgnosticRLSetting,
    IncrementalRLSetting,
    TaskIncrementalRLSetting,
    TraditionalRLSetting,
    MultiTaskRLSetting,
]
UNANNOUNCED = [ContinualRLSetting, TaskAgnosticRLSetting]
SEVERAL_PHASES = [IncrementalRLSetting, TaskIncrementalRLSetting]


@dataclass
class Cheat(Method):
    """Takes one step of the phase, and keeps what it was handed and the errors it meets."""

    target = ReinforcementSetting
    kept: list = field(default_factory=list)
    errors: list = field(default_factory=list)
    gained: int = 0

    def configure(self, setting):
        self.setting, self.kept, self.errors, self.gained = setting, [], [], 0

    def fit(self, phase):
        env = phase.train
        env.reset()
        env.step(1)
        self.kept.append((phase, env))

    def attempt(self, act):
        try:
            act()
        except RedwoodError as error:
            self.errors.append(type(error))
        else:
            self.gained += 1

    def predict(self, x, task_id):
        return torch.ones(len(x), dtype=torch.long)


class StepsOnAtTest(Cheat):
    """Uses what is left of the budget while it is scored."""

    def predict(self, x, task_id):
        for phase, env in self.kept:
            for act in (env.reset, lambda env=env: env.step(1), lambda phase=phase: phase.train):
                self.attempt(act)
        return super().predict(x, task_id)


class StepsInEarlierPhases(Cheat):
    """Uses what is left of the budgets of earlier phases, by environments that it kept or by new ones."""

    def fit(self, phase):
        for earlier, env in self.kept:
            for act in (env.reset, lambda env=env: env.step(1), lambda earlier=earlier: earlier.environments(3)):
                self.attempt(act)
        super().fit(phase)


class KeepsUnusedPhases(Cheat):
    """Asks an earlier phase for its first environment."""

    def fit(self, phase):
        for earlier in self.kept:
            self.attempt(lambda earlier=earlier: earlier.train)
            self.attempt(lambda earlier=earlier: earlier.play(self.predict))
        self.kept.append(phase)


@pytest.mark.parametrize("cls", ALONE)
def test_steps_at_test(cls):
    cheat = StepsOnAtTest()
    results = run_here(clock(cls), cheat)
    assert cheat.gained == 0
    assert set(cheat.errors) == {PhaseOverError}
    assert results.cost.training_samples == results.num_phases  # one step in each


@pytest.mark.parametrize("cls", SEVERAL_PHASES)
@pytest.mark.parametrize("kind", [StepsInEarlierPhases, KeepsUnusedPhases])
def test_steps_in_earlier_phases(cls, kind):
    cheat = kind()
    run_here(clock(cls), cheat)
    assert cheat.gained == 0
    assert set(cheat.errors) == {PhaseOverError}


def test_the_sentence():
    phase = next(clock(IncrementalRLSetting).phases())
    env = phase.train
    env.reset()
    phase.close()
    with pytest.raises(PhaseOverError, match=r"^The phase is over, and its environments are closed, .*\.$"):
        env.step(1)


def spend(phase):
    env = phase.train
    env.reset()
    while phase.budget.left:
        _, _, terminated, truncated, _ = env.step(1)
        if (terminated or truncated) and phase.budget.left:
            env.reset()
    return env


@pytest.mark.parametrize("cls", ALONE)
class TestBudget:
    def test_it_cannot_be_raised(self, cls):
        phase = next(clock(cls).phases())
        for name in ("total", "spent", "left"):
            with pytest.raises(AttributeError):
                setattr(phase.budget, name, 0)
        with pytest.raises(AttributeError):
            phase.budget = None

    def test_resets_give_no_steps(self, cls):
        phase = next(clock(cls).phases())
        env = phase.train
        for _ in range(50):
            env.reset()
        assert phase.budget.left == phase.budget.total
        env = spend(phase)
        for act in (env.reset, lambda: env.step(1)):
            with pytest.raises(BudgetSpentError):
                act()

    def test_an_earlier_state_gives_no_steps_back(self, cls):
        phase = next(clock(cls).phases())
        env = phase.train
        env.reset()
        before = phase.state_dict()
        env.step(1)
        with pytest.raises(NotPlainError, match="the phase has begun"):
            phase.load_state_dict(before)
        fresh = next(clock(cls).phases())
        with pytest.raises(NotPlainError):
            fresh.load_state_dict(before | {"spent": -100})

    def test_returns_cannot_be_added(self, cls):
        phase = next(clock(cls).phases())
        assert not hasattr(phase.online, "add")
        with pytest.raises(AttributeError):
            phase.online = None


def attributes(*roots):
    """All that is found by going through attributes, slots, containers and bound methods; functions are not opened."""
    waiting, seen = list(roots), {}
    while waiting:
        value = waiting.pop()
        if id(value) in seen or isinstance(value, type | types.ModuleType | types.FunctionType):
            continue
        seen[id(value)] = value
        if isinstance(value, functools.partial):
            waiting += [value.func, value.args, value.keywords]
        elif isinstance(value, types.MethodType):
            waiting.append(value.__self__)
        elif isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, list | tuple | set):
            waiting += value
        else:
            waiting += vars(value).values() if hasattr(value, "__dict__") else []
            waiting += [
                getattr(value, name, None) for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())
            ]
            if isinstance(value, gymnasium.Env):
                waiting += [value.unwrapped, value.spec]
    return list(seen.values())


@pytest.mark.parametrize("cls", UNANNOUNCED)
@pytest.mark.parametrize("env", [Clock, [Clock, OtherClock]])
def test_no_attribute_tells_what_is_not_announced(cls, env):
    of_one = {"attributes": [], "nb_tasks": None} if isinstance(env, list) else {}
    setting = clock(cls, env=env, **of_one)
    phase = next(setting.phases())
    spend(phase)
    found = attributes(phase, phase.train, setting.for_method())
    assert not [value for value in found if isinstance(value, Clock)]
    hidden = {task.values["gain"] for task in setting._made[1][1:] if task.values} | {50.0}
    assert not [value for value in found if isinstance(value, float | np.floating) and float(value) in hidden]
    assert not {"Schedule", "Switching", "Drifting", "Blending", "ActiveTask", "Task"} & {
        type(value).__name__ for value in found
    }
    assert not [
        value for value in found if isinstance(value, gymnasium.Env) and not isinstance(value, type(phase.train))
    ]


def test_the_walk_finds_what_is_announced():
    phase = next(clock(IncrementalRLSetting).phases())
    phase.train.reset()
    assert [value for value in attributes(phase) if isinstance(value, Clock)]


@pytest.mark.parametrize("cls", SEVERAL_PHASES)
def test_no_attribute_tells_of_later_tasks(cls):
    setting = clock(cls)
    phase = next(setting.phases())
    phase.train.reset()
    gains = {task.values["gain"] for task in setting._made[1][1:]}
    assert not [value for value in attributes(phase) if isinstance(value, float) and value in gains]
    phase = next(clock(cls, env=[Clock, OtherClock], attributes=[], nb_tasks=None).phases())
    assert not [value for value in attributes(phase, phase.train) if isinstance(value, OtherClock)]


@pytest.mark.parametrize("cls", ALONE)
def test_test_samples_of_a_supervised_setting_are_out_of_reach(cls):
    data = numbered()
    phase = next(cls(env=ClassIncrementalSetting(dataset=data, nb_tasks=3), steps_per_task=10).phases())
    phase.train.reset()
    assert finds_test_data(data, phase) == []


def test_a_sample_of_a_supervised_setting_cannot_be_asked_for():
    """The same one again and again, whose answer is known, would be an online accuracy of 1."""
    phase = next(TraditionalRLSetting(env=ClassIncrementalSetting(nb_tasks=2), steps_per_task=200).phases())
    env = phase.train
    shown = {env.reset(options={"episode": 0})[0].tobytes() for _ in range(5)}
    assert len(shown) == 5


@pytest.mark.parametrize("cls", ALONE)
def test_the_view_makes_no_environments(cls):
    view = clock(cls, env="CartPole-v1", attributes=["length"]).for_method()
    for act in (view.open_stream, view.phases, lambda: view.apply(Cheat()), lambda: view._made):
        with pytest.raises(RedwoodError):
            next(iter(act()))
