"""Environments in other processes act as those in this one."""

import gc
import os
import signal
import time

import numpy as np
import pytest

from redwood.settings.rl.budget import BudgetSpentError, PhaseOverError
from redwood.settings.rl.environment import InvalidActionError
from redwood.settings.rl.plain_state import NotPlainError
from redwood.settings.rl.processes import EnvironmentProcessError, RemoteEnvironment
from redwood.settings.rl.tree import (
    ContinualRLSetting,
    IncrementalRLSetting,
    MultiTaskRLSetting,
    TaskAgnosticRLSetting,
)
from tests.methods.helpers import one_sentence
from tests.settings.rl.clock_environments import Clock, Failing, OtherClock

MULTIPLE = {"env": [Clock, OtherClock, Clock], "max_episode_steps": 7}
PHYSICS = {"env": Clock, "attributes": ["gain"], "max_episode_steps": 7}


def phase_of(cls, **options):
    return cls(**{"steps_per_task": 40, "test_episodes": 1} | options).open_stream().phase(0)


def all_at_once(phase, n, processes, most=10**9):
    """What steps of `n` copies show, of which each begins before the first one ends."""
    environments = phase.environments(n, processes)
    seen = [env.reset()[0].tolist() for env in environments]
    while phase.budget.left >= n and len(seen) < most:
        for ahead, env in enumerate(environments):
            if processes:
                env.send(np.int64(1), ahead)
        for env in environments:
            observation, reward, terminated, truncated, info = env.step(np.int64(1))
            seen.append((observation.tolist(), float(reward), terminated, truncated, info["task_id"]))
            if (terminated or truncated) and phase.budget.left:
                seen.append(env.reset()[0].tolist())
    return seen


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (ContinualRLSetting, PHYSICS),
        (ContinualRLSetting, MULTIPLE),
        (TaskAgnosticRLSetting, MULTIPLE),
        (IncrementalRLSetting, PHYSICS),
        (MultiTaskRLSetting, MULTIPLE),
    ],
)
def test_steps_and_returns_are_equal(cls, options):
    here, there = phase_of(cls, **options), phase_of(cls, **options)
    assert all_at_once(here, 3, 0) == all_at_once(there, 3, 2)
    assert here.budget.spent == there.budget.spent > 30
    assert here.online.curve() == there.online.curve() != []
    there.close()


def test_the_last_step_ends_the_episode_and_the_budget():
    phase = phase_of(IncrementalRLSetting, **PHYSICS, steps_per_task=4)
    first, second = phase.environments(2, 2)
    first.reset(), second.reset()
    first.send(np.int64(0)), second.send(np.int64(0), ahead=1)
    assert not first.step(np.int64(0))[3]
    second.step(np.int64(0)), first.step(np.int64(0))
    assert phase.budget.spent == 3
    with pytest.raises(BudgetSpentError):
        second.send(np.int64(0), ahead=1)
    assert second.step(np.int64(0))[3]
    for use in (first.reset, lambda: first.step(np.int64(0))):
        with pytest.raises(BudgetSpentError):
            use()
    phase.close()


def test_a_state_goes_on_with_any_number_of_processes():
    options = PHYSICS | {"steps_per_task": 60}
    whole = phase_of(ContinualRLSetting, **options)
    all_at_once(whole, 3, 0, most=20)
    state = whole.state_dict()

    def rest(processes):
        phase = phase_of(ContinualRLSetting, **options)
        environments = phase.environments(3, processes)
        phase.load_state_dict(state)
        seen = [env.step(np.int64(1))[0].tolist() for env in environments]
        later = phase.state_dict()
        phase.close()
        return seen, later["spent"], later["online"]

    assert rest(0) == rest(1) == rest(3)
    other = phase_of(ContinualRLSetting, **options)
    other.environments(2, 1)
    with pytest.raises(NotPlainError, match="the phase has 2 environments, not 3"):
        other.load_state_dict(state)
    other.close()


def test_they_tell_neither_physics_nor_names():
    phase = phase_of(IncrementalRLSetting, **PHYSICS)
    (env,) = phase.environments(1, 1)
    assert isinstance(env, RemoteEnvironment)
    assert env.unwrapped is env
    assert env.spec is None
    assert (env.observation_space, env.action_space) == (Clock().observation_space, Clock().action_space)
    phase.close()
    with pytest.raises(PhaseOverError):
        env.reset()


def test_errors_are_those_of_the_environment():
    phase = phase_of(IncrementalRLSetting, **PHYSICS)
    (env,) = phase.environments(1, 1)
    env.reset()
    with pytest.raises(InvalidActionError, match="The action 7 is outside"):
        env.step(np.int64(7))
    phase.close()
    phase = phase_of(IncrementalRLSetting, env=Failing, attributes=["gain"], max_episode_steps=7)
    (env,) = phase.environments(1, 1)
    env.reset()
    with pytest.raises(FloatingPointError, match="the joint is broken"):
        env.step(np.int64(0))
    phase.close()


def test_what_cannot_be_sent_is_told():
    lock = __import__("threading").Lock()

    def make():
        assert lock
        return Clock()

    phase = phase_of(IncrementalRLSetting, env=make, attributes=["gain"], max_episode_steps=7)
    with pytest.raises(EnvironmentProcessError, match=r"cannot be sent to another process \(.*; leave") as caught:
        phase.environments(1, 1)
    assert one_sentence(caught.value)


MINE = """
from tests.settings.rl.clock_environments import Clock

GAIN = 4.0


class Mine(Clock):
    def step(self, action):
        return super().step(action)[0], GAIN, False, False, {}
"""


def test_environments_of_a_users_file(tmp_path):
    """Other processes have not imported it."""
    file = tmp_path / "mine.py"
    file.write_text(MINE)
    phase = phase_of(IncrementalRLSetting, env=f"{file}:Mine", attributes=["gain"], max_episode_steps=7)
    (env,) = phase.environments(1, 1)
    env.reset()
    assert env.step(np.int64(0))[1] == 4.0
    phase.close()


def children(phase):
    return [process.pid for process in phase.environments(2, 2)[0]._processes._processes]


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_process_that_is_killed_is_told():
    phase = phase_of(IncrementalRLSetting, **PHYSICS)
    first, _ = phase.environments(2, 2)
    first.reset()
    os.kill(children(phase)[0], signal.SIGKILL)
    with pytest.raises(
        EnvironmentProcessError, match=r"has ended \(exit code .*\), perhaps for lack of memory"
    ) as caught:
        for _ in range(20):
            first.reset()
    assert one_sentence(caught.value)
    phase.close()


@pytest.mark.parametrize("forgotten", [False, True])
def test_processes_end_with_the_phase(forgotten):
    phase = phase_of(IncrementalRLSetting, **PHYSICS)
    pids = children(phase)
    assert all(map(is_running, pids))
    if forgotten:
        del phase
        gc.collect()
    else:
        phase.close()
    deadline = time.monotonic() + 10
    while any(map(is_running, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(is_running, pids))
