"""The part of an agent's networks that decides its actions."""

from functools import partial
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from redwood.methods.agents.actor import Actor, Critic, Outputs, fisher_information, kind_of, output_sensitivity, terms
from redwood.methods.agents.off_policy import DQN
from redwood.methods.agents.on_policy import PPO
from redwood.methods.agents.task_input import TaskInput
from tests.methods.agents.parts import joined, setting_for
from tests.methods.agents.runs import configured, small_setting

OBSERVATIONS = spaces.Box(-2, 2, (3,), np.float32)
CHOICE, NUMBERS = spaces.Discrete(4), spaces.Box(-1, 1, (2,), np.float32)
AGENTS = {"ppo": "CartPole-v1", "a2c": "Pendulum-v1", "dqn": "CartPole-v1", "sac": "Pendulum-v1", "td3": "Pendulum-v1"}


class Rooms(gymnasium.ObservationWrapper):
    """An environment of which no more is seen than which of six parts its first number lies in."""

    def __init__(self, name):
        super().__init__(gymnasium.make(name))
        self.observation_space = spaces.Discrete(6)

    def observation(self, observation):
        return int(np.clip(3 * observation[0] + 3, 0, 5))


def linear(cls, action_space, n_outputs=4):
    """An agent whose outputs are a linear map of the observations."""

    class Linear(cls):
        def outputs(self, observations):
            return self.algorithm.policy(observations)

    torch.manual_seed(0)
    agent = Linear()
    agent.algorithm = SimpleNamespace(policy=nn.Linear(3, n_outputs))
    agent.setting = SimpleNamespace(observation_space=OBSERVATIONS, action_space=action_space)
    agent.input = TaskInput(OBSERVATIONS)
    agent.device = torch.device("cpu")
    return agent


class TestFisherInformation:
    """Of a linear map y = W x + b, dy_i / dW_ij = x_j."""

    x = torch.linspace(-2, 2, 33 * 3).view(33, 3).sin()

    def check(self, agent, per_output):
        """`per_output`: for each observation what stands before x_j^2 in the rows of W (n, K)."""
        found = fisher_information(Actor(agent), self.x)
        expected = (per_output[:, :, None] * self.x[:, None].square()).mean(0)
        torch.testing.assert_close(found["policy.weight"], expected)
        torch.testing.assert_close(found["policy.bias"], per_output.mean(0))

    def test_of_a_choice_is_the_expectation_over_what_the_policy_chooses(self):
        """sum_a pi_a (1[a = i] - pi_i)^2 = pi_i (1 - pi_i)."""
        agent = linear(PPO, CHOICE)
        chances = agent.outputs(self.x).softmax(1).detach()
        self.check(agent, chances * (1 - chances))

    def test_of_a_gaussian(self):
        """x_j^2 / sigma^2 for the means, and for log sigma 2 x_j^2."""
        agent = linear(PPO, NUMBERS)
        log_std = agent.outputs(self.x).detach()[:, 2:]
        self.check(agent, torch.cat([(-2 * log_std).exp(), torch.full_like(log_std, 2)], 1))

    def test_of_values(self):
        self.check(linear(DQN, CHOICE), torch.ones(33, 4))

    @pytest.mark.parametrize("name", AGENTS)
    @pytest.mark.parametrize("numbered", [False, True], ids=["numbers", "rooms"])
    def test_of_the_librarys_networks(self, name, numbered):
        """Against one backward pass for each observation and term."""
        agent = configured(joined(name), small_setting(partial(Rooms, AGENTS[name]) if numbered else AGENTS[name]))
        x = torch.tensor([1, 5, 1]) if numbered else torch.randn(3, *agent.setting.observation_space.shape)
        found = fisher_information(Actor(agent), x)
        actor = Actor(agent)
        weights = actor.weights()
        total = {key: torch.zeros_like(p) for key, p in weights.items()}
        for one in x:
            outputs = actor(one[None])
            y, scales = terms(outputs, kind_of(agent, outputs.shape[1]))
            for value, scale in zip(y[0], scales[0].detach(), strict=True):
                gradients = torch.autograd.grad(value, list(weights.values()), retain_graph=True)
                for key, gradient in zip(total, gradients, strict=True):
                    total[key] += scale * gradient.square() / len(x)
        assert found.keys() == total.keys()
        for key in found:
            torch.testing.assert_close(found[key], total[key], rtol=1e-3, atol=1e-6)
            assert bool(found[key].any())


class TestOutputSensitivity:
    """Of a linear map y = W x + b, d||y||^2 / dW_ij = 2 y_i x_j."""

    x = TestFisherInformation.x

    @pytest.mark.parametrize(("cls", "space"), [(DQN, CHOICE), (PPO, NUMBERS)])
    def test_of_values_and_gaussians(self, cls, space):
        agent = linear(cls, space)
        y = agent.outputs(self.x).detach()
        found = output_sensitivity(Actor(agent), self.x)
        torch.testing.assert_close(found["policy.weight"], (2 * y[:, :, None] * self.x[:, None]).abs().mean(0))
        torch.testing.assert_close(found["policy.bias"], (2 * y).abs().mean(0))

    def test_of_logits_counts_their_differences_alone(self):
        agent = linear(PPO, CHOICE)
        y = agent.outputs(self.x).detach()
        centred = y - y.mean(1, keepdim=True)
        found = output_sensitivity(Actor(agent), self.x)
        torch.testing.assert_close(found["policy.bias"], (2 * centred).abs().mean(0))


@pytest.mark.parametrize("name", ["ppo", "sac", "td3"])
def test_critics_have_weights_of_their_own(name):
    agent = configured(joined(name), setting_for(name))
    deciding, judging = Actor(agent).weights(), Critic(agent).weights()
    assert judging and not deciding.keys() & judging.keys()
    assert {f"policy.{key}" for key in agent.named_parameters()} == deciding.keys() | judging.keys()
    x = torch.randn(3, *agent.setting.observation_space.shape)
    assert agent.critic_outputs(x).shape == (3, 1 if name == "ppo" else 2)


def test_values_that_decide_are_no_critics():
    agent = configured(joined("dqn"), setting_for("dqn"))
    assert Critic(agent).weights() == {}


@pytest.mark.parametrize(
    ("name", "kind", "deciding"),
    [
        ("ppo", Outputs.LOGITS, {"mlp_extractor.policy_net", "action_net"}),
        ("dqn", Outputs.VALUES, {"q_net.q_net"}),
        ("sac", Outputs.GAUSSIAN, {"actor.latent_pi", "actor.mu", "actor.log_std"}),
        ("td3", Outputs.VALUES, {"actor.mu"}),
    ],
)
def test_what_serves_training_alone_is_left_free(name, kind, deciding):
    agent = configured(joined(name), setting_for(name))
    actor = Actor(agent)
    assert kind_of(agent, actor(actor._example).shape[1]) is kind
    names = [key.removeprefix("policy.") for key in actor.weights()]
    assert all(any(key.startswith(part) for part in deciding) for key in names)
    assert {part for part in deciding for key in names if key.startswith(part)} == deciding
