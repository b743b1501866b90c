import pytest
import torch

from redwood.core.errors import InvalidOptionError
from redwood.methods.agents.actor import Actor
from redwood.methods.agents.off_policy import SAC
from redwood.methods.agents.packnet import AgentPackNet
from redwood.methods.architecture.masked_update import FREE
from redwood.methods.base import Composition
from redwood.methods.composition import compose
from redwood.settings.rl.tree import MultiTaskRLSetting
from tests.methods.agents.parts import joined, setting_for, untrained
from tests.methods.agents.runs import SMALL, configured, same
from tests.small_runs import run_here

OPTIONS = {"ppo": {}, "a2c": {"n_steps": 5}, "dqn": {"learning_rate": 0.01}, "sac": {}, "td3": {}}
# Steps of these take long.
FEW = {"sac": {"steps_per_task": 24}, "td3": {"steps_per_task": 24}}
# What the last layers are called, of which tasks have their own.
LAST = {
    "ppo": {"action_net.weight"},
    "a2c": {"action_net.weight"},
    "dqn": {"q_net.q_net.4.weight"},
    "sac": {"actor.mu.weight", "actor.log_std.weight"},
    "td3": {"actor.mu.4.weight"},
}


def watched(name, setting=None, **options):
    """An agent after a small run, and its answers and outputs for each task after each phase."""
    # The outputs are asked for observations as the setting shows them, so no code of the task is appended.
    agent = joined(f"{name}+packnet", task_input="none", **OPTIONS[name] | options)
    setting = setting_for(f"{name}+packnet", **FEW.get(name, {}) | {"nb_tasks": 3} | (setting or {}))
    x = torch.randn(20, *setting.observation_space.shape, generator=torch.Generator().manual_seed(0))
    end, answers = agent.on_task_end, []

    def on_task_end(task_id):
        end(task_id)
        answers.append([])
        for task in range(setting.num_tasks):
            with agent._networks_of(agent.phase_of.get(task, -1)), torch.no_grad():
                answers[-1].append((agent.outputs(x), agent.predict(x, torch.full((20,), task))))

    agent.on_task_end = on_task_end
    results = run_here(setting, agent)
    return agent, answers, results


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in ("a2c", "td3"))) for n in SMALL])
def test_what_was_learned_stays_bit_for_bit(name):
    agent, answers, results = watched(name)
    for task in range(3):
        for later in range(task, 3):
            assert all(map(torch.equal, answers[later][task], answers[task][task]))
            assert results.accuracy_matrix[later][task] == results.accuracy_matrix[task][task]
    assert not torch.equal(answers[2][2][0], answers[2][0][0])
    for values in agent.own_values:
        assert values.keys() == Actor(agent).weights().keys() - agent.owner.keys()


@pytest.mark.parametrize("name", SMALL)
def test_what_is_shared_out(name):
    """The matrices that decide the actions, without the last ones."""
    agent = untrained(f"{name}+packnet")
    actor = Actor(agent)
    last = {f"policy.{key}" for key in LAST[name]}
    assert actor.last_layers().keys() == last
    assert agent.owner.keys() == {key for key, p in actor.weights().items() if p.dim() > 1} - last
    assert len(agent.owner) == 2


def test_each_task_keeps_its_share_of_what_was_free():
    agent, *_ = watched("dqn", prune_share=0.5)
    for key, owner in agent.owner.items():
        free = owner.numel()
        for task in range(3):
            pruned = int(0.5 * free)
            assert int((owner == task + 1).sum()) == free - pruned
            free = pruned
        weights = Actor(agent).weights()[key]
        assert not bool(weights[owner == FREE].any())
        assert bool(weights[owner == 3].any())


def test_equal_capacity_shares_out_all_weights_and_the_last_phase_prunes_none():
    agent = joined("dqn+packnet", equal_capacity=True)
    before, prune = [], agent.prune

    def noting():
        before.append({name: p.detach().clone() for name, p in agent._weights.items()})
        prune()
        changed.append(any(not torch.equal(p, before[-1][name]) for name, p in agent._weights.items()))

    agent.prune, changed = noting, []
    run_here(setting_for("dqn+packnet", nb_tasks=3, steps_per_task=24), agent)
    assert changed == [True, True, False]
    for owner in agent.owner.values():
        counts = [int((owner == task).sum()) for task in (FREE, 1, 2, 3)]
        assert counts[0] == 0
        assert max(counts[1:]) - min(counts[1:]) <= 2  # rounding


def test_equal_capacity_leaves_no_choice_of_a_share():
    with pytest.raises(InvalidOptionError, match=r"--prune_share 0\.5 does not go with --equal_capacity true"):
        joined("dqn+packnet", equal_capacity=True, prune_share=0.5)


@pytest.mark.parametrize("retrain_share", [0.0, 0.33])
def test_pruning_leaves_steps_to_retrain(retrain_share):
    agent = joined("dqn+packnet", retrain_share=retrain_share)
    prune, spent = agent.prune, []

    def noting():
        spent.append(agent.phase.budget.spent)
        prune()

    agent.prune = noting
    run_here(setting_for("dqn+packnet"), agent)
    # The first rollout, of four steps, that begins within the last share of the 70.
    assert spent == [70, 70] if retrain_share == 0 else spent == [48, 48]


def test_critics_and_targets_go_on_learning():
    states = []

    class Noting(AgentPackNet):
        composition = Composition.ANYWHERE

        def on_task_end(self, task_id):
            super().on_task_end(task_id)
            states.append({f"policy.{key}": p.clone() for key, p in self.algorithm.policy.state_dict().items()})

    agent = compose(SAC, Noting)(learning_starts=8, batch_size=4, prune_share=0.0)
    run_here(setting_for("sac+packnet", **FEW["sac"]), agent)
    assert all(bool((owner == 1).all()) for owner in agent.owner.values())
    for key, value in states[1].items():
        assert torch.equal(value, states[0][key]) is (key in agent.owner)


def test_tasks_of_no_phase_are_answered_by_the_latest_network():
    agent = configured(joined("ppo+packnet", task_input="none"), setting_for("ppo+packnet", cls=MultiTaskRLSetting))
    run_here(setting_for("ppo+packnet", cls=MultiTaskRLSetting), agent)
    x = torch.randn(6, 4)
    with torch.no_grad():
        expected = agent.outputs(x).argmax(1)
    assert torch.equal(agent.predict(x, torch.arange(6) % 2), expected)


def test_rows_of_several_tasks_keep_their_order():
    agent, *_ = watched("dqn", {"nb_tasks": 2})
    x, tasks = torch.randn(30, 4), torch.arange(30) % 2
    apart = [agent.predict(x[tasks == task], tasks[tasks == task]) for task in range(2)]
    together = agent.predict(x, tasks)
    assert all(torch.equal(together[tasks == task], apart[task]) for task in range(2))


def test_a_state_holds_what_was_learned():
    agent, *_ = watched("dqn", {"nb_tasks": 2})
    other = untrained("dqn+packnet", {"nb_tasks": 2}, task_input="none")
    other.load_state_dict(agent.state_dict())
    assert same(agent.state_dict(), other.state_dict())
    x, tasks = torch.randn(30, 4), torch.arange(30) % 2
    assert torch.equal(agent.predict(x, tasks), other.predict(x, tasks))
    assert agent.costs() == other.costs()


@pytest.mark.parametrize("options", [{"prune_share": 1.0}, {"retrain_share": -0.1}])
def test_values_out_of_range(options):
    with pytest.raises(InvalidOptionError, match=r"has to be at least 0 and at most 0\.99"):
        joined("dqn+packnet", **options)


@pytest.mark.parametrize("parts", ["ewc+packnet", "packnet+l2"])
def test_a_penalty_leaves_out_what_a_task_has_of_its_own(parts):
    """Last layers, biases, and weights that no task so far answers with."""
    agent = joined(f"dqn+{parts}", **OPTIONS["dqn"])
    run_here(setting_for("dqn+packnet", nb_tasks=2), agent)
    assert agent.curvature.keys() == agent.owner.keys()
    for name, owner in agent.owner.items():
        free = owner == FREE
        assert bool(free.any()) and bool((agent.curvature[name][free] == 0).all())
        assert bool((agent.curvature[name][~free] > 0).any())
