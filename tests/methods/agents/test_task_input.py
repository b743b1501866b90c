"""Agents that are told the task make use of it."""

from functools import partial
from typing import ClassVar

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from stable_baselines3.common.torch_layers import FlattenExtractor

from redwood.core.errors import InvalidOptionError, NotApplicableError
from redwood.methods.agents.off_policy import DQN
from redwood.methods.agents.on_policy import PPO
from redwood.methods.agents.task_input import OneHotTask
from redwood.settings.rl.tree import (
    ContinualRLSetting,
    IncrementalRLSetting,
    MultiTaskRLSetting,
    TaskAgnosticRLSetting,
    TaskIncrementalRLSetting,
    TraditionalRLSetting,
)
from tests.methods.agents.parts import joined
from tests.methods.agents.runs import SMALL, configured, small_setting
from tests.settings.rl.clock import OneRightAction
from tests.small_runs import run_here


class Contrary(OneRightAction):
    """Always looks the same; each task pays for another of two actions."""

    def __init__(self, right, space=None):
        super().__init__(right, 4, 2, space or Box(0, 1, (1,), np.float32))


def contrary(cls=MultiTaskRLSetting, space=None, steps=256):
    return cls(
        env=[lambda: Contrary(0, space), lambda: Contrary(1, space)],
        steps_per_task=steps,
        max_episode_steps=4,
        test_episodes=2,
    )


QUICK = {"learning_starts": 32, "learning_rate": 1e-2, "train_freq": 1, "gamma": 0.0, "target_update_interval": 50}
LEARNERS = {
    # With 1e-2, one-hot input ends at one action for both tasks on 7 of 8 runs; with 1e-3 on none of 10.
    "ppo": partial(PPO, n_steps=64, batch_size=32, n_epochs=20, learning_rate=1e-3, gamma=0.0),
    "dqn": partial(DQN, **QUICK),
    "dqn+rehearsal": partial(joined, "dqn+rehearsal", buffer_size=500, **QUICK),
}


@pytest.mark.parametrize(
    ("name", "space"),
    [
        ("ppo", None),
        ("dqn+rehearsal", Discrete(3)),
        pytest.param("dqn", None, marks=pytest.mark.slow),
        pytest.param("ppo", Discrete(3), marks=pytest.mark.slow),
        pytest.param("dqn+rehearsal", None, marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_tasks_that_contradict_each_other_are_solved_by_whoever_knows_the_task(name, space):
    for how in ("one_hot", "heads"):
        assert run_here(contrary(space=space), LEARNERS[name](task_input=how)).return_matrix == [[4.0, 4.0]]
    blind = run_here(contrary(space=space), LEARNERS[name](task_input="none")).return_matrix[0]
    assert sum(blind) == 4.0


@pytest.mark.parametrize("how", ["one_hot", "heads"])
def test_tasks_that_come_one_after_the_other(how):
    """Both are in the replay memory at the end; without ids, their rewards contradict each other."""
    told = run_here(contrary(TaskIncrementalRLSetting, steps=128), LEARNERS["dqn"](task_input=how))
    assert told.return_matrix[-1] == [4.0, 4.0]
    blind = run_here(contrary(IncrementalRLSetting, steps=128), LEARNERS["dqn"]())
    assert sum(blind.return_matrix[-1]) == 4.0


@pytest.mark.parametrize(
    "name",
    [
        "ppo",
        "dqn+rehearsal",
        "sac+packnet",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("a2c", "dqn", "sac", "td3", "ppo+packnet", "ppo+ewc", "dqn+ewc", "td3+perfect_memory")
        ),
    ],
)
def test_every_agent_is_told_the_task_in_training_and_at_test(name, monkeypatch):
    agent = joined(name)
    setting = small_setting(SMALL[name.split("+")[0]][1], TaskIncrementalRLSetting, steps_per_task=48)
    seen = []
    join = OneHotTask.join

    def watch(self, observations, task_id):
        found = join(self, observations, task_id)
        seen.append((list(task_id), found[:, -2:].argmax(1).tolist()))
        return found

    monkeypatch.setattr(OneHotTask, "join", watch)
    run_here(setting, agent)
    assert agent.algorithm.observation_space.shape == (setting.observation_space.shape[0] + 2,)
    assert all(told == shown for told, shown in seen)
    assert {task for told, _ in seen for task in told} == {0, 1}


def test_without_ids_at_test_nothing_is_appended():
    agent = configured(SMALL["ppo"][0](), small_setting("CartPole-v1", IncrementalRLSetting))
    assert agent.observation_space == agent.setting.observation_space
    with pytest.raises(InvalidOptionError, match="--task_input one_hot needs task ids at test, which IncrementalRL"):
        configured(PPO(task_input="one_hot"), small_setting("CartPole-v1", IncrementalRLSetting))
    with pytest.raises(
        InvalidOptionError, match="--task_input codes is unknown; choose one of auto, none, one_hot, heads"
    ):
        PPO(task_input="codes")


class TestSpaces:
    def test_numbers(self):
        told = OneHotTask(Box(-2, 3, (2, 2), np.float64), 3)
        assert told.space == Box(np.array([-2.0] * 4 + [0] * 3), np.array([3.0] * 4 + [1] * 3), dtype=np.float64)
        found = told.join(np.arange(8.0).reshape(2, 2, 2), torch.tensor([2, 0]).numpy())
        assert found.tolist() == [[0, 1, 2, 3, 0, 0, 1], [4, 5, 6, 7, 1, 0, 0]]
        assert found.dtype == np.float64

    def test_choices(self):
        told = OneHotTask(Discrete(3), 2)
        assert told.join(np.array([2, 0]), [0, 1]).tolist() == [[0, 0, 1, 1, 0], [1, 0, 0, 0, 1]]
        assert told.space == Box(0, 1, (5,), np.float32)

    @pytest.mark.parametrize(("shape", "joined"), [((40, 40, 3), (40, 40, 5)), ((3, 40, 40), (5, 40, 40))])
    def test_images(self, shape, joined):
        told = OneHotTask(Box(0, 255, shape, np.uint8), 2)
        assert told.space == Box(0, 255, joined, np.uint8)
        image = np.full((1, *shape), 7, np.uint8)
        found = told.join(image, [1])
        assert found.shape == (1, *joined)
        channels = found[0] if shape[0] == 3 else found[0].transpose(2, 0, 1)
        assert [set(channel.ravel().tolist()) for channel in channels] == [{7}, {7}, {7}, {0}, {255}]
        assert told.space.contains(found[0])

    def test_too_many_tasks_for_an_image(self):
        with pytest.raises(NotApplicableError, match="--task_input one_hot appends a channel for each of 9 tasks"):
            OneHotTask(Box(0, 255, (8, 8, 3), np.uint8), 9)


class Recording(OneRightAction):
    """Notes each observation that it gives away; they are all different, and of three numbers."""

    given: ClassVar[set[bytes]] = set()

    def __init__(self, right):
        super().__init__(right, 4, 2, Box(0, 1, (3,), np.float32))
        self._draw = np.random.default_rng(right)

    def _noted(self, result):
        observation = self._draw.random(3, np.float32)
        self.given.add(observation.tobytes())
        return observation, *result[1:]

    def reset(self, **options):
        return self._noted(super().reset(**options))

    def step(self, action):
        return self._noted(super().step(action))


def shown_to(name, cls, monkeypatch):
    """What networks of an agent get as inputs, what `predict` gets as ids, and what the environments have given."""
    monkeypatch.setattr(Recording, "given", set())
    env = [lambda: Recording(0), lambda: Recording(1)]
    setting = cls(env=env, steps_per_task=48, max_episode_steps=4, test_episodes=2)
    agent = configured(joined(name), setting)
    seen, told = set(), []
    for module in agent.algorithm.policy.modules():
        if isinstance(module, FlattenExtractor):
            module.register_forward_pre_hook(lambda _, x: seen.update(row.tobytes() for row in x[0].detach().numpy()))
    predict = agent.predict
    monkeypatch.setattr(agent, "predict", lambda x, task_id: told.append(task_id) or predict(x, task_id))
    stream = setting.open_stream()
    for index in range(stream.num_phases):
        agent.fit(stream.phase(index))
        stream.evaluate(agent)
    assert len(seen) > 48
    assert told
    return seen, told, Recording.given


@pytest.mark.parametrize("name", ["ppo", "dqn", "dqn+ewc+rehearsal"])
@pytest.mark.parametrize("cls", [ContinualRLSetting, TaskAgnosticRLSetting, IncrementalRLSetting, TraditionalRLSetting])
def test_where_ids_are_hidden_networks_see_observations_and_nothing_else(name, cls, monkeypatch):
    """In training, too, though `incremental_rl` tells ids there: an agent could not use them at test."""
    seen, told, given = shown_to(name, cls, monkeypatch)
    assert set(told) == {None}
    assert seen <= given


@pytest.mark.parametrize("cls", [TaskIncrementalRLSetting, MultiTaskRLSetting])
def test_where_ids_are_given_networks_see_them(cls, monkeypatch):
    seen, told, given = shown_to("ppo", cls, monkeypatch)
    assert {int(task) for ids in told for task in ids} == {0, 1}
    assert not seen & given
    codes = {tuple(np.frombuffer(row, np.float32)[3:].tolist()) for row in seen}
    assert codes == {(1.0, 0.0), (0.0, 1.0)}
