"""Exploration with the best of the old policies."""

import numpy as np
import pytest

from redwood.core.errors import InvalidOptionError
from redwood.methods.agents.task_input import OneHotTask
from redwood.settings.rl.tree import TaskIncrementalRLSetting
from tests.methods.agents.parts import joined, setting_for, untrained
from tests.methods.agents.runs import small_setting
from tests.settings.rl.clock_environments import OtherPicture, Picture
from tests.small_runs import run_here


def acting_tasks(agent, setting):
    """For each phase the task whose code the networks got at each of their steps; None for other steps."""
    phases = []

    def learn(phase, steps, learn=agent.learn):
        sample = type(agent.algorithm)._sample_action
        codes = []
        phases.append(codes)

        def noted(*args, **options):
            told = agent.algorithm._last_obs[:, -setting.num_tasks :]  # of images, channels
            codes.append(tuple(told.reshape(*told.shape[:2], -1).min(2).argmax(1)))
            return sample(agent.algorithm, *args, **options)

        agent.algorithm._sample_action = noted
        learn(phase, steps)

    agent.learn = learn
    run_here(setting, agent)
    return phases


@pytest.mark.parametrize(("name", "task_input"), [("dqn", "one_hot"), ("sac", "one_hot"), ("td3", "heads")])
@pytest.mark.few(1)
def test_old_policies_act_in_turn_and_then_the_best(name, task_input):
    agent = joined(f"{name}+best_return", explore_steps=65, task_input=task_input)
    setting = setting_for(f"{name}+best_return", nb_tasks=3, steps_per_task=80)
    first, second, third = acting_tasks(agent, setting)
    assert set(first) == {(0,)}
    assert second == [(0,)] * 65 + [(1,)] * 15
    assert third[65:] == [(2,)] * 15
    episodes = [len(returns) for returns in agent.episode_returns.values()]
    switch = third.index((1,))
    assert third[:switch] == [(0,)] * switch, "the first policy acts for one episode"
    assert set(third[switch:65]) <= {(0,), (1,)}
    assert sum(episodes) >= 3 and min(episodes) >= 1
    best = max(agent.episode_returns, key=lambda task: np.mean(agent.episode_returns[task]))
    assert third[64] == (best,) or len(agent.episode_returns[best]) == 1


def test_no_random_actions_follow_the_exploration():
    """They are those of a first task; the old policies replace them in later ones."""
    agent = joined("dqn+best_return", explore_steps=20, learning_starts=40)
    told = []

    def learn(phase, steps, learn=agent.learn):
        sample = type(agent.algorithm)._sample_action

        def noted(learning_starts, *args, **options):
            told.append((phase.index, learning_starts))
            return sample(agent.algorithm, learning_starts, *args, **options)

        agent.algorithm._sample_action = noted
        learn(phase, steps)

    agent.learn = learn
    run_here(setting_for("dqn+best_return", steps_per_task=60), agent)
    assert set(told) == {(0, 40), (1, 0)}


def test_old_policies_that_were_not_tried_are_told_of():
    setting = setting_for("dqn+best_return", steps_per_task=24)
    with pytest.warns(UserWarning, match=r"--explore_steps 1 ended before 1 of 1 old policies .* larger --explore"):
        run_here(setting, joined("dqn+best_return", explore_steps=1))


def test_images_are_told_the_old_task():
    agent = joined("dqn+best_return", explore_steps=40)
    setting = small_setting([Picture, OtherPicture], cls=TaskIncrementalRLSetting, nb_tasks=None, steps_per_task=80)
    _, second = acting_tasks(agent, setting)
    assert second == [(0,)] * 40 + [(1,)] * 40


def test_the_best_has_the_highest_mean_return():
    agent = untrained("dqn+best_return")
    agent.old_tasks, agent.episode_returns = [0, 1, 2], {0: [1.0, 9.0], 1: [], 2: [6.0]}
    assert agent.best_policy() == 1
    agent.acting = [1]
    assert agent.best_policy() == 2
    agent.episode_returns[1] = [7.0]
    assert agent.best_policy() == 1


def test_copies_of_the_environment_try_different_policies():
    agent = joined("sac+best_return", n_envs=2, explore_steps=40)
    setting = setting_for("sac+best_return", nb_tasks=3)
    *_, third = acting_tasks(agent, setting)
    assert third[0] == (0, 1)


def test_codes_of_other_tasks():
    space = untrained("dqn").setting.observation_space
    task_input = OneHotTask(space, 3)
    observations = np.linspace(0, 1, 8, dtype=np.float32).reshape(2, 4)
    inputs = task_input.join(observations, [0, 2])
    recoded = task_input.recode(inputs, [1, 0])
    assert recoded.dtype == inputs.dtype
    np.testing.assert_array_equal(recoded, task_input.join(observations, [1, 0]))


def test_codes_of_other_tasks_in_images():
    """Of the library's images, whose channels come first."""
    task_input = OneHotTask(Picture().observation_space, 2)
    pictures = np.stack([Picture().observation_space.sample() for _ in range(2)])
    first, other = (task_input.join(pictures, ids).transpose(0, 3, 1, 2) for ids in ([0, 1], [1, 0]))
    np.testing.assert_array_equal(task_input.recode(first, [1, 0]), other)


def test_refusals():
    with pytest.raises(InvalidOptionError, match="learns from its own actions alone"):
        joined("ppo+best_return")
    with pytest.raises(InvalidOptionError, match="networks are not told the task"):
        untrained("dqn+best_return", task_input="none")
    with pytest.raises(InvalidOptionError, match="--explore_steps -1 has to be at least 0"):
        joined("dqn+best_return", explore_steps=-1)
    run_here(small_setting("CartPole-v1", cls=TaskIncrementalRLSetting), joined("dqn+best_return", explore_steps=0))
