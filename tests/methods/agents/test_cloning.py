"""Agents that hold on to their old policies on stored observations."""

import pytest
import torch
from torch.distributions import Categorical, Normal, kl_divergence

from redwood.core.errors import InvalidOptionError
from redwood.methods.agents.actor import Actor, Outputs
from redwood.methods.agents.cloning import divergence
from tests.methods.agents.parts import joined, setting_for, trained, untrained
from tests.methods.agents.runs import same
from tests.small_runs import run_here


class TestDivergence:
    old, new = torch.randn(2, 7, 4, generator=torch.Generator().manual_seed(0))

    def test_of_choices(self):
        expected = kl_divergence(Categorical(logits=self.old), Categorical(logits=self.new))
        torch.testing.assert_close(divergence(self.old, self.new, Outputs.LOGITS), expected)

    def test_of_numbers(self):
        def normal(outputs):
            mean, log_std = outputs.chunk(2, -1)
            return Normal(mean, log_std.exp())

        expected = kl_divergence(normal(self.old), normal(self.new)).sum(-1)
        torch.testing.assert_close(divergence(self.old, self.new, Outputs.GAUSSIAN), expected)

    def test_of_values(self):
        expected = kl_divergence(Normal(self.old, 1), Normal(self.new, 1)).sum(-1)
        torch.testing.assert_close(divergence(self.old, self.new, Outputs.VALUES), expected)


def move(agent):
    """Move all weights, and set the gradients of a loss whose value is the sum of all weights."""
    generator = torch.Generator().manual_seed(1)
    for p in agent.named_parameters().values():
        with torch.no_grad():
            p.add_(0.1 * torch.randn(p.shape, generator=generator))
        p.grad = torch.ones_like(p)


def memory_gradients(agent):
    """The gradient of the mean divergence on the whole memory, by parameter."""
    actor = Actor(agent)
    weights = list(actor.weights().values())
    now = actor(agent.stored_observations)
    loss = divergence(agent.stored_outputs, now, actor.kind(now.shape[1])).mean()
    return dict(zip(weights, torch.autograd.grad(loss, weights), strict=True))


def prepare(name, monkeypatch, **options):
    """An agent after its first task, whose batches are its whole memory; and the gradient on it."""
    agent = trained(name, {"nb_tasks": 1}, states_per_task=20, memory_batch_size=20, **options)
    monkeypatch.setattr(torch, "randint", lambda high, size: torch.arange(high))
    move(agent)
    expected = memory_gradients(agent)
    for optimizer in agent.optimizers():
        agent.before_step(optimizer)
    return agent, expected


@pytest.mark.parametrize("name", ["ppo", "dqn", "sac", "td3"])
class TestMemory:
    @pytest.mark.few(1)
    def test_it_holds_observations_of_all_tasks_and_what_the_policy_said(self, name):
        agent = trained(f"{name}+cloning", {"nb_tasks": 1}, states_per_task=20)
        with torch.no_grad():
            outputs = agent.outputs(agent.stored_observations)
        assert torch.equal(agent.stored_outputs, outputs)
        agent = trained(f"{name}+cloning", states_per_task=20)
        assert len(agent.stored_observations) == len(agent.stored_outputs) == 40
        assert agent.costs()["buffer_bytes"] > trained(name).costs()["buffer_bytes"]

    def test_its_gradient_is_added_to_what_decides(self, name, monkeypatch):
        agent, expected = prepare(f"{name}+cloning", monkeypatch, cloning_coef=3.0)
        assert any(bool(gradient.any()) for gradient in expected.values())
        for p in agent.named_parameters().values():
            torch.testing.assert_close(p.grad, 1 + 3 * expected[p] if p in expected else torch.ones_like(p))

    def test_agem_projects_what_would_raise_the_divergence(self, name, monkeypatch):
        agent, expected = prepare(f"{name}+agem", monkeypatch)
        parameters = list(expected)
        reference = torch.cat([expected[p].flatten() for p in parameters])
        gradient = torch.ones_like(reference)
        if gradient @ reference < 0:
            gradient = gradient - (gradient @ reference) / (reference @ reference) * reference
        torch.testing.assert_close(torch.cat([p.grad.flatten() for p in parameters]), gradient)
        for p in agent.named_parameters().values():
            assert p in expected or torch.equal(p.grad, torch.ones_like(p))


@pytest.mark.parametrize("part", ["cloning", "agem"])
def test_the_first_task_is_that_of_the_agent_alone(part):
    one = {"nb_tasks": 1}
    theirs = trained("dqn", one).named_parameters()
    for name, p in trained(f"dqn+{part}", one).named_parameters().items():
        assert torch.equal(p, theirs[name])


def test_it_holds_the_policy():
    def diverged(coefficient):
        agent = trained("ppo+cloning", cloning_coef=coefficient, learning_rate=0.01)
        old, now = agent.stored_outputs[:70], agent.outputs(agent.stored_observations[:70])
        return float(divergence(old, now.detach(), Outputs.LOGITS).mean())

    assert diverged(100.0) < diverged(0.0) / 2


def test_a_state_holds_the_memory():
    agent, other = trained("sac+cloning"), untrained("sac+cloning")
    other.load_state_dict(agent.state_dict())
    assert same(agent.state_dict(), other.state_dict())


def test_a_memory_of_other_environments_is_refused():
    state = trained("ppo+cloning").state_dict()
    state["stored_observations"] = state["stored_observations"][:, :2]
    with pytest.raises(ValueError, match="those of other environments"):
        untrained("ppo+cloning").load_state_dict(state)


@pytest.mark.parametrize("options", [{"cloning_coef": -1.0}, {"states_per_task": 0}, {"memory_batch_size": 0}])
def test_options_out_of_range(options):
    with pytest.raises(InvalidOptionError, match="has to be at least"):
        joined("dqn+cloning", **options)


COMES_BACK = {"nb_tasks": None, "tasks": ["default", "length=2", "default"]}  # three phases of tasks 0, 1, 0


class TestTasksThatComeBack:
    def test_the_new_policy_takes_the_place_of_the_old_one(self):
        agent = joined("dqn+cloning", states_per_task=20)
        end, memories = agent.on_task_end, []

        def noting(task_id):
            end(task_id)
            memories.append((agent.stored_tasks, agent.stored_observations, agent.stored_outputs))

        agent.on_task_end = noting
        run_here(setting_for("dqn", **COMES_BACK), agent)
        assert [tasks.tolist() for tasks, *_ in memories] == [[0] * 20, [0] * 20 + [1] * 20, [1] * 20 + [0] * 20]
        (_, *first), (_, *second), (_, *third) = memories
        for name, one, two, three in zip(("observations", "outputs"), first, second, third, strict=True):
            assert torch.equal(two[:20], one), name
            assert torch.equal(three[:20], two[20:]), name
            assert not torch.equal(three[20:], one), name

    @pytest.mark.parametrize("part", ["cloning", "agem"])
    def test_their_own_old_policy_is_left_out(self, part, monkeypatch):
        agent = joined(f"dqn+{part}", states_per_task=20)
        forward, trained_with = Actor.forward, []

        def noting(self, observations):
            if torch.is_grad_enabled() and len(observations) == agent.memory_batch_size and len(agent.stored_tasks):
                same_rows = (observations[:, None] == agent.stored_observations).all(2)
                tasks = {int(agent.stored_tasks[rows.nonzero()[0, 0]]) for rows in same_rows}
                trained_with.append((agent.phase_count, tasks))
            return forward(self, observations)

        monkeypatch.setattr(Actor, "forward", noting)
        run_here(setting_for("dqn", **COMES_BACK), agent)
        assert {phase for phase, _ in trained_with} == {1, 2}
        assert all(tasks == ({0} if phase == 1 else {1}) for phase, tasks in trained_with)
