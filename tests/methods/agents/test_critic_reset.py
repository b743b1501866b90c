"""New critics for each task."""

import pytest
import torch

from redwood.core.errors import InvalidOptionError
from redwood.methods.agents.actor import Actor
from redwood.settings.rl.tree import TaskIncrementalRLSetting
from tests.methods.agents.parts import trained, untrained


def weights_of(agent):
    return {name: p.detach().clone() for name, p in agent.named_parameters().items()}


@pytest.mark.parametrize("name", ["ppo", "a2c", "sac", "td3"])
def test_critics_are_new_and_the_actor_is_not(name):
    agent = trained(f"{name}+reset_critic", {"nb_tasks": 1})
    before = weights_of(agent)
    random = torch.get_rng_state()
    agent.on_task_start(1)
    assert torch.equal(torch.get_rng_state(), random)
    deciding = {key.removeprefix("policy.") for key in Actor(agent).weights()}
    after = weights_of(agent)
    assert all(torch.equal(before[key], after[key]) for key in deciding)
    matrices = [key for key in after.keys() - deciding if after[key].dim() > 1]
    assert matrices
    assert not any(torch.equal(before[key], after[key]) for key in matrices)
    policy = agent.algorithm.policy
    if hasattr(policy, "critic_target"):
        for own, target in zip(policy.critic.parameters(), policy.critic_target.parameters(), strict=True):
            assert torch.equal(own, target)


def test_heads_of_critics_are_new():
    heads = {"task_input": "heads", "setting": {"nb_tasks": 2, "cls": TaskIncrementalRLSetting}}
    agent = trained("sac+reset_critic", **heads)
    before = weights_of(agent)
    agent.on_task_start(1)
    changed = {key for key, value in weights_of(agent).items() if not torch.equal(before[key], value)}
    assert changed == {key for key in before if key.startswith("critic.")}


def test_moments_of_old_critics_are_dropped():
    agent = trained("ppo+reset_critic", {"nb_tasks": 1})
    agent.on_task_start(1)
    (optimizer,) = agent.optimizers()
    assert set(optimizer.state) == set(Actor(agent).weights().values())


def test_the_first_task_keeps_its_critics():
    agent = untrained("sac+reset_critic")
    before = weights_of(agent)
    agent.on_task_start(0)
    assert all(torch.equal(before[key], value) for key, value in weights_of(agent).items())


def test_values_that_decide_are_no_critics():
    with pytest.raises(InvalidOptionError, match=r"dqn\+reset_critic has no critic to reset"):
        untrained("dqn+reset_critic")


def test_new_critics_are_not_pulled_back_to_the_old_ones():
    with pytest.raises(InvalidOptionError, match="--regularize_critic pulls critics back to their old weights"):
        untrained("ppo+ewc+reset_critic", regularize_critic=True)
