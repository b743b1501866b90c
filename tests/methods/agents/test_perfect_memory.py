import pytest
import torch
from stable_baselines3.common.buffers import ReplayBuffer

from redwood.core.errors import InvalidOptionError
from redwood.methods.agents.replay_memory import GrowingMemory
from redwood.settings.rl.tree import ContinualRLSetting
from tests.methods.agents.parts import joined, trained, untrained
from tests.methods.agents.runs import same
from tests.methods.agents.test_replay_memory import ACTIONS, OBSERVATIONS, step


@pytest.mark.parametrize("actions", ACTIONS)
def test_it_holds_what_a_large_memory_holds(actions):
    small = GrowingMemory(4, OBSERVATIONS, ACTIONS[actions], "cpu", 2)
    large = ReplayBuffer(1000, OBSERVATIONS, ACTIONS[actions], "cpu", 2)
    for number in range(77):
        one = step(number, 2, actions)
        small.add(*one)
        large.add(*one)
        assert small.size() == number + 1
    places = torch.arange(77).numpy()
    for leaf in ("observations", "next_observations", "actions", "rewards", "dones", "timeouts"):
        assert (getattr(small, leaf)[places] == getattr(large, leaf)[places]).all()
    assert set(vars(small)) == set(vars(large))


@pytest.mark.parametrize("cls", [{}, {"cls": ContinualRLSetting}])
@pytest.mark.parametrize("n_envs", [1, 2])
def test_every_step_of_the_run_is_there(cls, n_envs):
    agent = trained("dqn+perfect_memory", cls, buffer_size=16, n_envs=n_envs)
    assert agent.algorithm.replay_buffer.size() * n_envs == 2 * 70
    rewards = agent.algorithm.replay_buffer.rewards[: 2 * 70 // n_envs]
    assert (rewards == 1).all()
    plain = trained("dqn", cls, buffer_size=16, n_envs=n_envs)
    assert plain.algorithm.replay_buffer.size() * n_envs == 16


def test_a_memory_that_was_large_enough_makes_no_difference():
    ours, theirs = trained("dqn+perfect_memory", buffer_size=200), trained("dqn", buffer_size=200)
    assert same(ours.state_dict(), theirs.state_dict())


def test_a_state_holds_what_was_learned():
    agent, other = trained("dqn+perfect_memory", buffer_size=16), untrained("dqn+perfect_memory", buffer_size=16)
    other.load_state_dict(agent.state_dict())
    assert same(agent.state_dict(), other.state_dict())
    assert agent.costs() == other.costs()


def test_the_librarys_sum_of_rewards_is_refused():
    with pytest.raises(InvalidOptionError, match="--n_steps 3 needs the library's own replay memory"):
        untrained("dqn+perfect_memory", n_steps=3)


def test_an_agent_without_a_memory_is_refused():
    with pytest.raises(InvalidOptionError, match=r"^The method perfect_memory\+ppo cannot be made: .*choose dqn, sac"):
        joined("ppo+perfect_memory")
