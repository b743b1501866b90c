"""Agents with a head for each task."""

import numpy as np
import pytest
import stable_baselines3
import torch
from gymnasium.spaces import Box, Discrete

from redwood.core.errors import InvalidOptionError
from redwood.methods.agents.actor import Actor
from redwood.methods.agents.heads_policies import HEADS_POLICIES, heads_options
from redwood.methods.agents.on_policy import PPO
from redwood.methods.agents.task_heads import head_parameters
from redwood.methods.agents.task_input import OneHotTask
from redwood.settings.rl.tree import IncrementalRLSetting, TaskIncrementalRLSetting
from tests.methods.agents.parts import joined
from tests.methods.agents.runs import SMALL, configured, small_setting
from tests.settings.rl.clock import OneRightAction

AGENTS = [("ppo", "CartPole-v1"), ("a2c", "Pendulum-v1")] + [(name, SMALL[name][1]) for name in ("dqn", "sac", "td3")]


def with_heads(name, env, **options):
    setting = small_setting(env, TaskIncrementalRLSetting, steps_per_task=48)
    return configured(joined(name, task_input="heads", **options), setting), setting


@pytest.mark.parametrize(("name", "env"), AGENTS)
def test_training_on_a_task_leaves_heads_of_others_as_they_are(name, env):
    agent, setting = with_heads(name, env)
    stream, named = setting.open_stream(), list(agent.algorithm.policy.named_parameters())

    def of_task(task):
        found = {key: p.detach().clone() for key, p in named if key.endswith(f"_{task}") and "target" not in key}
        assert found
        return found

    for trained, other in ((0, 1), (1, 0)):
        before = of_task(trained), of_task(other)
        if name in ("dqn", "sac", "td3"):
            agent.algorithm.replay_buffer.reset()  # or else it holds steps of the task before
        agent.fit(stream.phase(trained))
        after = of_task(trained), of_task(other)
        assert all(torch.equal(before[1][key], after[1][key]) for key in after[1])
        assert all(not torch.equal(before[0][key], after[0][key]) for key in after[0])


@pytest.mark.parametrize(("name", "env"), AGENTS)
def test_the_task_decides_by_the_head_alone(name, env):
    """With equal heads, the code changes nothing: no other layer sees it."""
    agent, setting = with_heads(name, env)
    observation = torch.from_numpy(setting.observation_space.sample())[None].numpy()
    inputs = [torch.from_numpy(agent.input.join(observation, [task])) for task in (0, 1)]
    with torch.no_grad():
        assert not torch.equal(agent.outputs(inputs[0]), agent.outputs(inputs[1]))
        for module in agent.algorithm.policy.modules():
            for key, parameter in module.named_parameters(recurse=False):
                if key.endswith("_1"):
                    parameter.copy_(getattr(module, key.removesuffix("_1") + "_0"))
        assert torch.allclose(agent.outputs(inputs[0]), agent.outputs(inputs[1]), atol=1e-6)


@pytest.mark.parametrize(("name", "env"), AGENTS)
def test_every_last_layer_has_heads(name, env):
    agent, _ = with_heads(name, env)
    heads = head_parameters(agent.algorithm.policy)
    actor = Actor(agent)
    assert set(actor.last_layers().values()) <= heads
    assert len(actor.last_layers()) == 2 * (2 if name == "sac" else 1)  # two tasks; means and deviations
    assert {p for p in agent.named_parameters().values() if p.shape[0] == 1 and p.dim() == 2} <= heads


@pytest.mark.parametrize("name", ["ppo", "dqn"])
def test_images(name):
    class Seeing(OneRightAction):
        def __init__(self):
            super().__init__(0, 4, 2, Box(0, 255, (40, 40, 3), np.uint8))

    class SeeingToo(Seeing):
        """Another task, because the same class twice is one task that comes back."""

    setting = TaskIncrementalRLSetting(env=[Seeing, SeeingToo], steps_per_task=48, max_episode_steps=4, test_episodes=1)
    agent = configured(joined(name, task_input="heads"), setting)
    agent.fit(setting.open_stream().phase(0))
    extractor = next(m for m in agent.algorithm.policy.modules() if hasattr(m, "num_features"))
    assert extractor.base.cnn[0].in_channels == 3
    image = np.full((1, 40, 40, 3), 90, np.uint8)
    inputs = [agent.policy_input(torch.from_numpy(agent.input.join(image, [task]))).float() / 255 for task in (0, 1)]
    found = [extractor(one) for one in inputs]
    assert [one[0, -2:].tolist() for one in found] == [[1.0, 0.0], [0.0, 1.0]]
    assert torch.equal(found[0][:, :-2], found[1][:, :-2])


@pytest.mark.parametrize("name", HEADS_POLICIES)
def test_sizes_after_convolutions_are_the_library_s(name):
    pictures = Box(0, 255, (3, 36, 36), np.uint8)
    actions = Box(-1, 1, (2,)) if name in ("SAC", "TD3") else Discrete(2)
    theirs = getattr(stable_baselines3, name).policy_aliases["CnnPolicy"](pictures, actions, lambda _: 0.1)
    options = heads_options(name, OneHotTask(pictures, 2), "CnnPolicy", {})
    assert options["policy_kwargs"]["net_arch"] == theirs.net_arch


def test_choices_are_told_apart():
    class Choosing(OneRightAction):
        def __init__(self):
            super().__init__(0, 4, 2, Discrete(3))

    class ChoosingToo(Choosing):
        """Another task."""

    setting = TaskIncrementalRLSetting(env=[Choosing, ChoosingToo], steps_per_task=48, max_episode_steps=4)
    agent = configured(joined("ppo", task_input="heads"), setting)
    trunk = agent.algorithm.policy.mlp_extractor.policy_net.layers
    assert trunk[0].in_features == 3


def test_sizes_are_those_of_policy_kwargs():
    agent, _ = with_heads("sac", "Pendulum-v1", policy_kwargs={"net_arch": {"pi": [7], "qf": [5, 4]}, "n_critics": 3})
    shapes = {name: tuple(p.shape) for name, p in agent.named_parameters().items()}
    assert shapes["actor.latent_pi.layers.0.weight"] == (7, 3)
    assert shapes["critic.qf2.0.layers.0.weight"] == (5, 3 + 1)
    assert shapes["critic.qf2.1.weight_1"] == (1, 4)


class TestRefused:
    def test_settings_without_ids(self):
        with pytest.raises(InvalidOptionError, match="--task_input heads needs task ids at test, which IncrementalRLS"):
            configured(PPO(task_input="heads"), small_setting("CartPole-v1", IncrementalRLSetting))

    def test_noise_by_state(self):
        with pytest.raises(InvalidOptionError, match="--use_sde draws noise from features that all tasks share"):
            PPO(task_input="heads", use_sde=True)

    def test_other_algorithms(self):
        class Other(PPO):
            algorithm_name = "PPO"

        Other.algorithm_name = "TRPO"
        Other.algorithm_class = classmethod(lambda cls: PPO.algorithm_class())
        with pytest.raises(
            InvalidOptionError, match=f"heads is not for TRPO, but for {', '.join(HEADS_POLICIES)}; use"
        ):
            configured(Other(task_input="heads"), small_setting("CartPole-v1", TaskIncrementalRLSetting))
