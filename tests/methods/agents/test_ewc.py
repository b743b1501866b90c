from functools import partial
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from redwood.core.errors import InvalidOptionError
from redwood.methods.agents.actor import Decision, Outputs, fisher_information, kind_of, terms
from redwood.methods.agents.off_policy import DQN
from redwood.methods.agents.on_policy import PPO
from redwood.methods.agents.task_input import TaskInput
from tests.methods.agents.parts import joined, setting_for, trained, untrained
from tests.methods.agents.runs import configured, same, small_setting
from tests.small_runs import run_here

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
        found = fisher_information(agent, self.x)
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
        found = fisher_information(agent, x)
        decision = Decision(agent)
        weights = decision.weights()
        total = {key: torch.zeros_like(p) for key, p in weights.items()}
        for one in x:
            outputs = decision(one[None])
            y, scales = terms(outputs, kind_of(agent, outputs.shape[1]))
            for value, scale in zip(y[0], scales[0].detach(), strict=True):
                gradients = torch.autograd.grad(value, list(weights.values()), retain_graph=True)
                for key, gradient in zip(total, gradients, strict=True):
                    total[key] += scale * gradient.square() / len(x)
        assert found.keys() == total.keys()
        for key in found:
            torch.testing.assert_close(found[key], total[key], rtol=1e-3, atol=1e-6)
            assert bool(found[key].any())


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
    decision = Decision(agent)
    assert kind_of(agent, decision(decision._one).shape[1]) is kind
    names = [key.removeprefix("policy.") for key in decision.weights()]
    assert all(any(key.startswith(part) for part in deciding) for key in names)
    assert {part for part in deciding for key in names if key.startswith(part)} == deciding


class TestPenalty:
    def end_tasks(self, agent, count):
        """End so many tasks, each with an importance and weights of its own; return these."""
        generator = torch.Generator().manual_seed(1)
        tasks = []
        for task in range(count):
            weights = dict(agent.trained_weights())
            with torch.no_grad():
                for p in weights.values():
                    p.add_(torch.randn(p.shape, generator=generator))
            given = {key: torch.rand(p.shape, generator=generator) for key, p in weights.items()}
            tasks.append((given, {key: p.detach().clone() for key, p in weights.items()}))
            agent.importance = lambda given=given: {key: value.clone() for key, value in given.items()}
            agent.on_task_end(task)
        with torch.no_grad():
            for p in dict(agent.trained_weights()).values():
                p.add_(1)
        return tasks

    @pytest.mark.parametrize("name", ["dqn", "ppo", "sac"])
    @pytest.mark.parametrize("count", [0, 1, 3])
    def test_its_gradient_is_that_of_the_sum_over_tasks(self, name, count):
        agent = untrained(f"{name}+ewc", ewc_lambda=3.0)
        tasks = self.end_tasks(agent, count)
        weights = dict(agent.trained_weights())
        expected = dict.fromkeys(weights, torch.zeros(()))
        if tasks:
            penalty = sum(
                3.0 / 2 * (given[key] * (p - anchor[key]).square()).sum()
                for given, anchor in tasks
                for key, p in weights.items()
            )
            expected = dict(zip(weights, torch.autograd.grad(penalty, list(weights.values())), strict=True))
        everything = agent.named_parameters()
        for p in everything.values():
            p.grad = torch.full_like(p, 0.5)
        for optimizer in agent.optimizers():
            agent.before_step(optimizer)
        for key, p in everything.items():
            added = p.grad - 0.5
            torch.testing.assert_close(added, expected.get(f"policy.{key}", torch.zeros(())).expand_as(added))

    def test_there_is_none_in_the_first_task(self):
        one = {"nb_tasks": 1}
        held, free = trained("dqn+ewc", one, ewc_lambda=1e9), trained("dqn", one)
        theirs = free.named_parameters()
        assert all(torch.equal(p, theirs[name]) for name, p in held.named_parameters().items())

    def test_important_weights_stay_where_the_first_task_left_them(self):
        fast = {"learning_rate": 0.003}
        first = trained("dqn+ewc", {"nb_tasks": 1}, **fast)

        def moved(strength):
            weights = dict(trained("dqn+ewc", ewc_lambda=strength, **fast).trained_weights())
            away = [first.curvature[key] * (p.detach() - first.minimum[key]).square() for key, p in weights.items()]
            return float(sum(part.sum() for part in away))

        assert moved(1e4) < moved(0.0) / 4


def test_a_state_holds_what_was_learned():
    agent, other = trained("ppo+ewc"), untrained("ppo+ewc")
    other.load_state_dict(agent.state_dict())
    assert same(agent.state_dict(), other.state_dict())
    assert agent.costs() == other.costs()
    n_deciding = sum(p.numel() for _, p in agent.trained_weights())
    assert agent.costs()["buffer_bytes"] - untrained("ppo").costs()["buffer_bytes"] == 2 * 4 * n_deciding


@pytest.mark.parametrize("name", ["ppo+ewc", "dqn+ewc"])
def test_observations_may_be_choices(name):
    agent = joined(name)
    results = run_here(small_setting("FrozenLake-v1", nb_tasks=1), agent)
    assert agent.curvature
    assert all(bool(curvature.any()) for curvature in agent.curvature.values())
    # The networks take the numbers of rooms as before.
    assert agent.predict(torch.arange(16), None).shape == (16,)
    assert len(results.return_matrix) == 1


def test_each_weight_has_one_importance():
    with pytest.raises(InvalidOptionError, match="cannot be combined, as each weight has one importance"):
        untrained("dqn+ewc+l2")


@pytest.mark.parametrize("options", [{"ewc_lambda": -1.0}, {"fisher_samples": 0}])
def test_options_out_of_range(options):
    with pytest.raises(InvalidOptionError, match="has to be at least"):
        joined("dqn+ewc", **options)
