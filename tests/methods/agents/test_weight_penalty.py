"""Agents that pull weights back to their values after earlier tasks."""

import pytest
import torch

from redwood.core.errors import InvalidOptionError
from tests.methods.agents.parts import joined, trained, untrained
from tests.methods.agents.runs import same, small_setting
from tests.small_runs import run_here


def gradients_of_the_penalty(agent):
    """For each parameter its name in the actor, itself, and what a step adds to its gradient."""
    parameters = agent.named_parameters()
    for p in parameters.values():
        p.grad = torch.full_like(p, 0.5)
    for optimizer in agent.optimizers():
        agent.before_step(optimizer)
    return [(f"policy.{key}", p, p.grad - 0.5) for key, p in parameters.items()]


class TestL2:
    @pytest.mark.parametrize("name", ["dqn", "ppo", "sac"])
    def test_all_weights_that_decide_are_pulled_to_where_the_last_task_left_them(self, name):
        """The gradient of lambda/2 (w - w*)^2, whatever the tasks before were."""
        agent = untrained(f"{name}+l2", l2_lambda=3.0)
        weights = dict(agent.trained_weights())
        for task in range(3):
            with torch.no_grad():
                for p in weights.values():
                    p.add_(torch.randn_like(p))
            agent.on_task_end(task)
        anchor = {key: p.detach().clone() for key, p in weights.items()}
        with torch.no_grad():
            for p in weights.values():
                p.add_(torch.randn_like(p))
        for name, p, added in gradients_of_the_penalty(agent):
            expected = 3.0 * (p - anchor[name]).detach() if name in anchor else torch.zeros_like(p)
            torch.testing.assert_close(added, expected)

    def test_it_holds_the_weights(self):
        first = dict(trained("dqn", {"nb_tasks": 1}, learning_rate=0.003).named_parameters())

        def moved(strength):
            weights = trained("dqn+l2", l2_lambda=strength, learning_rate=0.003).named_parameters()
            return float(sum((p - first[key]).detach().square().sum() for key, p in weights.items()))

        assert moved(10.0) < moved(0.0) / 4

    def test_strength_out_of_range(self):
        with pytest.raises(InvalidOptionError, match="--l2_lambda -1 has to be at least 0"):
            joined("dqn+l2", l2_lambda=-1)


class TestEWC:
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
        for name, _, added in gradients_of_the_penalty(agent):
            torch.testing.assert_close(added, expected.get(name, torch.zeros(())).expand_as(added))

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

    def test_a_state_holds_what_was_learned(self):
        agent, other = trained("ppo+ewc"), untrained("ppo+ewc")
        other.load_state_dict(agent.state_dict())
        assert same(agent.state_dict(), other.state_dict())
        assert agent.costs() == other.costs()
        n_deciding = sum(p.numel() for _, p in agent.trained_weights())
        assert agent.costs()["buffer_bytes"] - untrained("ppo").costs()["buffer_bytes"] == 2 * 4 * n_deciding

    @pytest.mark.parametrize("name", ["ppo+ewc", "dqn+ewc"])
    def test_observations_may_be_choices(self, name):
        agent = joined(name)
        results = run_here(small_setting("FrozenLake-v1", nb_tasks=1), agent)
        assert agent.curvature
        assert all(bool(curvature.any()) for curvature in agent.curvature.values())
        # The networks take the numbers of rooms as before.
        assert agent.predict(torch.arange(16), None).shape == (16,)
        assert len(results.return_matrix) == 1

    def test_each_weight_has_one_importance(self):
        with pytest.raises(InvalidOptionError, match="cannot be combined, as each weight has one importance"):
            untrained("dqn+ewc+l2")

    @pytest.mark.parametrize("options", [{"ewc_lambda": -1.0}, {"fisher_samples": 0}])
    def test_options_out_of_range(self, options):
        with pytest.raises(InvalidOptionError, match="has to be at least"):
            joined("dqn+ewc", **options)
