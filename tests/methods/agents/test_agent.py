"""What an agent shows to those that build on it, and what it refuses."""

import warnings
from functools import partial

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch.distributions import Categorical

from redwood.core.errors import InvalidOptionError, NotApplicableError, RedwoodError
from redwood.methods.agents.off_policy import DQN, SAC, TD3
from redwood.methods.agents.on_policy import A2C, PPO
from redwood.settings.rl.tree import IncrementalRLSetting
from tests.methods.agents.parts import untrained
from tests.methods.agents.runs import SMALL, configured, small_setting


class Pictures(gymnasium.Env):
    """Noise; one action is as good as the other."""

    def __init__(self, shape=(40, 36, 3), actions=None):
        self.observation_space = spaces.Box(0, 255, shape, np.uint8)
        self.action_space = spaces.Discrete(3) if actions is None else actions

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._picture(), {}

    def step(self, action):
        return self._picture(), 0.0, False, False, {}

    def _picture(self):
        return self.np_random.integers(0, 256, self.observation_space.shape, np.uint8)


def pictures(**options):
    return small_setting(partial(Pictures, **options), nb_tasks=1, steps_per_task=10)


@pytest.mark.parametrize(("method", "env"), [(PPO, "CartPole-v1"), (A2C, "Acrobot-v1"), (DQN, "CartPole-v1")])
def test_best_choice(method, env):
    agent = configured(method(), small_setting(env))
    x = torch.rand(50, *agent.setting.observation_space.shape)
    assert torch.equal(agent.predict(x, None), agent.outputs(x).argmax(1))


@pytest.mark.parametrize("method", [PPO, SAC, TD3])
def test_best_numbers(method):
    """The mean, squashed where the agent squashes, and scaled to the bounds, -2..2."""
    agent = configured(method(), small_setting("Pendulum-v1"))
    x = torch.randn(50, 3)
    mean = agent.outputs(x)[:, :1]
    assert agent.outputs(x).shape == (50, 1 if method is TD3 else 2)
    expected = {PPO: mean.clamp(-2, 2), SAC: 2 * mean.tanh(), TD3: 2 * mean}[method]
    torch.testing.assert_close(agent.predict(x, None), expected.detach())
    assert agent.predict(1e6 * x, None).abs().max() <= 2


class A2CWithRecent(A2C):
    reads_recent = True


class DQNWithRecent(DQN):
    reads_recent = True


def test_outputs_are_those_that_the_policy_draws_from():
    agent = configured(PPO(), small_setting("CartPole-v1"))
    x = torch.randn(20, 4)
    theirs = agent.algorithm.policy.get_distribution(x).distribution
    torch.testing.assert_close(Categorical(logits=agent.outputs(x)).probs, theirs.probs)


@pytest.mark.parametrize(
    ("shape", "policy"), [((40, 36, 3), "CnnPolicy"), ((4, 36, 36), "CnnPolicy"), ((7, 7, 3), "MlpPolicy")]
)
def test_pictures(shape, policy):
    """The library moves their channels to the front; who asks for actions or outputs need not know."""
    setting = pictures(shape=shape)
    agent = configured(DQNWithRecent(learning_starts=2, batch_size=2, buffer_size=20), setting)
    assert type(agent.algorithm.policy).__name__ == ("CnnPolicy" if policy == "CnnPolicy" else "DQNPolicy")
    agent.fit(setting.open_stream().phase(0))
    x = agent.recent_observations(6)
    assert x.shape == (6, *shape)
    assert x.dtype == torch.uint8
    channels_last = shape[-1] == 3
    direct = agent.algorithm.q_net(x.permute(0, 3, 1, 2) if channels_last else x)
    assert torch.equal(agent.outputs(x), direct)
    assert torch.equal(agent.predict(x, None), direct.argmax(1))


def test_recent_observations():
    setting = small_setting("CartPole-v1", steps_per_task=30)
    agent = configured(A2CWithRecent(n_envs=2), setting)
    assert agent.recent_observations(5).shape == (0, 4)
    phase = setting.open_stream().phase(0)
    agent.fit(phase)
    everything = agent.recent_observations(1000)
    assert len(everything) == 30
    few = agent.recent_observations(7)
    assert torch.equal(few, everything[:7])
    assert len(everything.unique(dim=0)) > 20


def test_observations_are_kept_only_where_they_are_read():
    setting = small_setting("CartPole-v1", steps_per_task=30)
    agent = configured(A2C(), setting)
    agent.fit(setting.open_stream().phase(0))
    assert not agent.newest
    with pytest.raises(TypeError, match="set reads_recent = True"):
        agent.recent_observations(5)


@pytest.mark.parametrize(
    ("part", "option"), [("ewc", "fisher_samples"), ("mas", "mas_samples"), ("cloning", "states_per_task")]
)
def test_more_observations_than_are_kept_are_told_of(part, option):
    with pytest.warns(UserWarning, match=f"--{option} 4097 is more than the last 4096 observations"):
        untrained(f"ppo+{part}", n_envs=2, **{option: 4097})
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        untrained(f"ppo+{part}", n_envs=2, **{option: 4096})


@pytest.mark.parametrize("name", SMALL)
def test_parameters_are_those_that_are_trained(name):
    make, env = SMALL[name]
    setting = small_setting(env)
    agent = configured(make(), setting)
    named = agent.named_parameters()
    before = {key: value.detach().clone() for key, value in agent.algorithm.policy.named_parameters()}
    assert not [key for key in named if "target" in key]
    agent.fit(setting.open_stream().phase(0))
    after = dict(agent.algorithm.policy.named_parameters())
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert set(named) == {key for key in changed if "target" not in key}
    assert agent.costs()["parameters"] == sum(value.numel() for value in named.values())


@pytest.mark.parametrize("name", SMALL)
def test_steps_are_announced(name):
    """Each step of each optimizer, with the gradients that it goes along, and then the weights that it led to."""
    make, env = SMALL[name]
    heard = []

    class Listening(make.func):
        def before_step(self, optimizer):
            super().before_step(optimizer)
            heard.append((self.optimizers().index(optimizer), [p.clone() for p in optimizer.param_groups[0]["params"]]))

        def after_step(self, optimizer):
            super().after_step(optimizer)
            index, weights = heard[-1]
            assert optimizer is self.optimizers()[index]
            now = optimizer.param_groups[0]["params"]
            assert any(not torch.equal(a, b) for a, b in zip(weights, now, strict=True))

    setting = small_setting(env, steps_per_task=20)
    agent = configured(Listening(**make.keywords), setting)
    agent.fit(setting.open_stream().phase(0))
    counts = agent.flops.state_dict()["steps"]
    assert [len([index for index, _ in heard if index == number]) for number in range(len(counts))] == counts
    assert min(counts) > 0


def test_flops_of_one_update():
    """A matrix product (m, k) @ (k, n) is 2 m k n; DQN's network maps 4 to 64 to 64 to 2."""
    setting = small_setting("CartPole-v1", steps_per_task=20)
    agent = configured(DQN(learning_starts=3, batch_size=8), setting)
    agent.fit(setting.open_stream().phase(0))
    forward = 2 * 8 * (4 * 64 + 64 * 64 + 64 * 2)
    # Two networks forward; backward the weights of all layers, and the inputs of all but the first.
    backward = forward + 2 * 8 * (64 * 64 + 64 * 2)
    assert agent.flops.state_dict()["steps"] == [5]
    assert agent.costs()["training_flops"] == 5 * (2 * forward + backward)


def test_bytes_are_those_of_the_filled_part():
    setting = small_setting("CartPole-v1", steps_per_task=20)
    agent = configured(DQN(), setting)
    assert agent.costs()["buffer_bytes"] == 0
    agent.fit(setting.open_stream().phase(0))
    assert agent.costs()["buffer_bytes"] == 20 * (2 * 4 * 4 + 8 + 3 * 4)


class TestRefusals:
    @pytest.mark.parametrize("method", [SAC, TD3])
    def test_numbers_where_choices_are_wanted(self, method):
        with pytest.raises(
            NotApplicableError, match=r"cannot act in CartPole-v1, .* Discrete\(2\) .* ppo, a2c or dqn\.$"
        ):
            configured(method(), small_setting("CartPole-v1"))

    def test_choices_where_numbers_are_wanted(self):
        with pytest.raises(
            NotApplicableError, match=r"^dqn cannot act in Pendulum-v1, .*; use ppo, a2c, sac or td3\.$"
        ):
            configured(DQN(), small_setting("Pendulum-v1"))

    def test_choices_from_another_number_on(self):
        with pytest.raises(NotApplicableError, match=r"counts actions from 0, but .* start at 1; wrap"):
            configured(PPO(), pictures(actions=spaces.Discrete(3, start=1)))

    def test_observations_that_do_not_start_at_0(self):
        class Late(gymnasium.Env):
            observation_space, action_space = spaces.Discrete(3, start=1), spaces.Discrete(2)

        setting = IncrementalRLSetting(env=Late, nb_tasks=1, max_episode_steps=5)
        with pytest.raises(NotApplicableError, match=r"counts observations from 0, but .* start at 1; wrap"):
            configured(PPO(), setting)

    def test_convolutions_without_pictures(self):
        with pytest.raises(InvalidOptionError, match=r"Stable-Baselines3 refuses the options of ppo \(.*NatureCNN"):
            configured(PPO(policy="CnnPolicy"), small_setting("CartPole-v1"))

    @pytest.mark.parametrize("options", [{"batch_size": 1}, {"clip_range_vf": -1.0}])
    def test_what_the_library_refuses(self, options):
        with pytest.raises(InvalidOptionError, match=r"^Stable-Baselines3 refuses the options of ppo"):
            configured(PPO(**options), small_setting("CartPole-v1"))

    def test_a_fault_of_our_own_is_seen_as_it_is(self):
        class Faulty(PPO):
            def algorithm_class(self):
                def make(**options):
                    raise ValueError("a fault of the program")

                return make

        with pytest.raises(ValueError, match=r"^a fault of the program$") as raised:
            configured(Faulty(), small_setting("CartPole-v1"))
        assert type(raised.value) is ValueError

    @pytest.mark.parametrize(
        ("agent", "sentence"),
        [
            (
                DQN(buffer_size=10**14),
                r"^--buffer_size 100000000000000 is too much for the memory \(.*\); use a smaller",
            ),
            (PPO(n_steps=10**14), r"^--n_steps 100000000000000 is too much for the memory"),
        ],
    )
    def test_more_than_the_memory_holds(self, agent, sentence):
        with pytest.raises(InvalidOptionError, match=sentence):
            configured(agent, small_setting("CartPole-v1"))

    def test_unknown_network(self):
        with pytest.raises(
            InvalidOptionError, match=r"--policy mlp is unknown; choose one of auto, MlpPolicy, CnnPolicy"
        ):
            PPO(policy="mlp")

    def test_precision(self):
        with pytest.raises(InvalidOptionError, match=r"--precision 16-mixed is not for ppo, .*; leave it out\.$"):
            configured(PPO(), small_setting("CartPole-v1"), precision="16-mixed")

    def test_library_is_missing(self, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "redwood.methods.agents.vec_env", None)
        monkeypatch.delattr("redwood.methods.agents.vec_env", raising=False)  # imported by an earlier test
        with pytest.raises(RedwoodError, match=r"^ppo needs the package .*; pip install 'redwood\[rl\]'\.$"):
            configured(PPO(), small_setting("CartPole-v1"))
