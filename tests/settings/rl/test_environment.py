"""An environment goes on in the middle of an episode as if nothing had happened."""

import importlib.util

import pytest
from gymnasium.utils import EzPickle

from redwood.core.errors import RedwoodError
from redwood.settings.rl.tree import (
    ContinualRLSetting,
    IncrementalRLSetting,
    TaskAgnosticRLSetting,
    TraditionalRLSetting,
)
from tests.settings.rl.clock import Clock, OtherClock, clock


class Forgetful(Clock, EzPickle):
    """Says of itself only how it was made, as environments of MuJoCo do."""

    def __init__(self):
        Clock.__init__(self)
        EzPickle.__init__(self)


class Closed(Clock):
    """Holds what no file can."""

    def __init__(self):
        super().__init__()
        self.rule = lambda: 1


def steps(environments, budget, n):
    """What some steps of several environments show."""
    seen = []
    for _ in range(n):
        for env in environments:
            if not budget.left:
                return seen
            observation, reward, terminated, truncated, info = env.step(env.action_space.sample() * 0 + 1)
            seen.append((observation.tolist(), float(reward), terminated, truncated, info["task_id"]))
            if (terminated or truncated) and budget.left:
                seen.append(env.reset()[0].tolist())
    return seen


def going_on_is_exact(setting, n=2):
    phase, other = (next(setting.phases()) for _ in range(2))
    environments = phase.environments(n)
    for env in environments:
        env.reset()
    steps(environments, phase.budget, 9)
    state = phase.state_dict()
    rest = steps(environments, phase.budget, 25)
    again = other.environments(n)
    other.load_state_dict(state)
    assert steps(again, other.budget, 25) == rest
    assert other.online.curve() == phase.online.curve()
    assert len(rest) > 20


@pytest.mark.parametrize(
    "setting", [ContinualRLSetting, TaskAgnosticRLSetting, IncrementalRLSetting, TraditionalRLSetting]
)
@pytest.mark.parametrize("env", [Clock, Forgetful, [Clock, OtherClock]])
def test_a_phase_goes_on(setting, env):
    of_one = {"attributes": [], "nb_tasks": None} if isinstance(env, list) else {}
    going_on_is_exact(clock(setting, env=env, steps_per_task=60, **of_one))


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1", "MountainCar-v0", "Acrobot-v1"])
def test_library_environments_go_on(name):
    going_on_is_exact(ContinualRLSetting(env=name, steps_per_task=40, max_episode_steps=15))


@pytest.mark.skipif(importlib.util.find_spec("mujoco") is None, reason="needs the extra mujoco")
def test_bodies_of_mujoco_change_and_go_on():
    setting = ContinualRLSetting(env="Hopper-v5", attributes=["gravity", "mass", "friction"], steps_per_task=40)
    going_on_is_exact(setting)
    first, *others = setting._made[1]
    assert first.values == {"gravity": 9.81, "mass": 1.0, "friction": 1.0}
    assert all(0.1 < task.values["mass"] < 10 for task in others)


def test_what_cannot_be_saved_is_told():
    phase = next(clock(IncrementalRLSetting, env=Closed).phases())
    phase.train.reset()
    with pytest.raises(RedwoodError, match="goes on from the start of its phase"):
        phase.state_dict()
