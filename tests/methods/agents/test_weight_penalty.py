"""Agents that pull weights back to their values after earlier tasks."""

import pytest
import torch

from redwood.core.errors import InvalidOptionError
from redwood.methods.agents.actor import Actor
from redwood.methods.regularisation.quadratic_penalty import mean_of
from redwood.settings.rl.tree import TaskIncrementalRLSetting
from tests.methods.agents.parts import joined, trained, untrained
from tests.methods.agents.runs import same, small_setting
from tests.small_runs import run_here

NETS = ("action_net", "value_net")


def check_proximal_step(agent, penalty, anchors):
    """After a step, each weight has to be the minimum of lr * penalty(w) + 1/2 ||w - w'||^2, whose gradient is 0.

    Args:
        agent: The agent.
        penalty: Maps weights by name to the penalty.
        anchors: Names of the weights that have one; the others have to stay.
    """
    before = {f"policy.{key}": p.detach().clone() for key, p in agent.named_parameters().items()}
    for optimizer in agent.optimizers():
        agent.after_step(optimizer)
    after = {f"policy.{key}": p for key, p in agent.named_parameters().items()}
    held = [after[name] for name in anchors]
    gradients = torch.autograd.grad(penalty(after), held) if held else []
    rates = {
        f"policy.{key}": group["lr"]
        for key, p in agent.named_parameters().items()
        for optimizer in agent.optimizers()
        for group in optimizer.param_groups
        if any(p is own for own in group["params"])
    }
    for name, gradient in zip(anchors, gradients, strict=True):
        torch.testing.assert_close(before[name] - after[name], rates[name] * gradient)
    for name in after.keys() - set(anchors):
        assert torch.equal(before[name], after[name])


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
        check_proximal_step(
            agent,
            lambda now: 3.0 / 2 * sum((now[key] - anchor[key]).square().sum() for key in anchor),
            list(anchor),
        )

    def test_it_holds_the_weights(self):
        first = dict(trained("dqn", {"nb_tasks": 1}, learning_rate=0.003).named_parameters())

        def moved(strength):
            weights = trained("dqn+l2", l2_lambda=strength, learning_rate=0.003).named_parameters()
            return float(sum((p - first[key]).detach().square().sum() for key, p in weights.items()))

        assert moved(1e4) < moved(0.0) / 4

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
    def test_importances_add_up_around_the_last_weights(self, name, count):
        agent = untrained(f"{name}+ewc", ewc_lambda=3.0)
        tasks = self.end_tasks(agent, count)
        anchor = tasks[-1][1] if tasks else {}
        summed = {key: sum(given[key] for given, _ in tasks) for key in anchor}
        check_proximal_step(
            agent,
            lambda now: 3.0 / 2 * sum((summed[key] * (now[key] - anchor[key]).square()).sum() for key in anchor),
            list(anchor),
        )

    def test_the_optimizer_s_moments_know_nothing_of_the_penalty(self):
        """They would slow down learning of the new task."""
        agent = untrained("ppo+ewc", ewc_lambda=1e6)
        self.end_tasks(agent, 1)
        for p in agent.named_parameters().values():
            p.grad = torch.full_like(p, 0.5)
        (optimizer,) = agent.optimizers()
        optimizer.step()
        assert all(torch.equal(value["exp_avg"], torch.full_like(p, 0.05)) for p, value in optimizer.state.items())

    def test_importances_are_multiples_of_their_mean(self):
        agent = trained("ppo+ewc", {"nb_tasks": 1})
        raw = trained("ppo+ewc", {"nb_tasks": 1}, importance_scale="none")
        assert mean_of(agent.curvature) == pytest.approx(1)
        scale = mean_of(raw.curvature)
        assert scale != pytest.approx(1)
        for key, value in raw.curvature.items():
            torch.testing.assert_close(agent.curvature[key], value / scale)

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
        with pytest.raises(InvalidOptionError, match="ewc does not go with l2, as each weight has one importance"):
            untrained("dqn+ewc+l2")

    @pytest.mark.parametrize("options", [{"ewc_lambda": -1.0}, {"fisher_samples": 0}])
    def test_options_out_of_range(self, options):
        with pytest.raises(InvalidOptionError, match="has to be at least"):
            joined("dqn+ewc", **options)


class TestCritics:
    @pytest.mark.parametrize("part", ["ewc", "mas", "l2"])
    @pytest.mark.parametrize("name", ["ppo", "sac", "td3"])
    @pytest.mark.few(2)
    def test_they_have_a_penalty_if_asked(self, name, part):
        agent = trained(f"{name}+{part}", {"nb_tasks": 1}, regularize_critic=True)
        critics = {f"policy.{key}" for key in agent.named_parameters()} - Actor(agent).weights().keys()
        assert critics
        assert all(agent.curvature[key].any() for key in critics)
        without = trained(f"{name}+{part}", {"nb_tasks": 1})
        assert agent.curvature.keys() - without.curvature.keys() == critics
        # These networks share no layer: what decides the actions is held as firmly as without penalised critics.
        for key, curvature in without.curvature.items():
            torch.testing.assert_close(agent.curvature[key], curvature)
        if part != "l2":
            assert mean_of({key: agent.curvature[key] for key in critics}) == pytest.approx(1)

    def test_there_is_none_without_an_actor(self):
        with pytest.raises(InvalidOptionError, match=r"--regularize_critic has no effect on dqn\+ewc"):
            untrained("dqn+ewc", regularize_critic=True)


class TestMAS:
    def test_its_penalty_is_twice_the_factor_of_the_square(self):
        agent = untrained("ppo+mas", mas_lambda=3.0)
        assert agent.strength == 6.0

    @pytest.mark.parametrize("name", ["ppo", "dqn", "sac", "td3"])
    def test_it_measures_what_decides(self, name):
        agent = trained(f"{name}+mas", {"nb_tasks": 1})
        assert agent.curvature.keys() == Actor(agent).weights().keys()
        assert all(bool(value.any()) for value in agent.curvature.values())

    @pytest.mark.parametrize("options", [{"mas_lambda": -1.0}, {"mas_samples": 0}])
    def test_options_out_of_range(self, options):
        with pytest.raises(InvalidOptionError, match="has to be at least"):
            joined("dqn+mas", **options)


@pytest.mark.parametrize("part", ["l2", "mas"])
def test_heads_of_single_tasks_are_free(part):
    heads = {"task_input": "heads", "setting": {"cls": TaskIncrementalRLSetting}}
    agent = trained(f"ppo+{part}", **heads, regularize_critic=True)
    free = {f"policy.{key}" for key in agent.named_parameters()} - agent.curvature.keys()
    assert free == {f"policy.{net}.{kind}_{task}" for net in NETS for kind in ("weight", "bias") for task in range(2)}
