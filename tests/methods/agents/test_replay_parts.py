"""Parts that change the replay memory of the agent that they are joined to."""

import pytest
import torch

from redwood.buffers import RehearsalBuffer, Ring, TaskBalanced
from redwood.core.errors import InvalidOptionError
from redwood.core.seeding import derive_seed
from redwood.settings.rl.tree import ContinualRLSetting, IncrementalRLSetting
from tests.methods.agents.parts import joined, trained, untrained
from tests.methods.agents.runs import configured, same, small_setting


class TestResetBuffer:
    @pytest.mark.parametrize("memory", ["", "+rehearsal", "+perfect_memory"])
    def test_only_the_last_task_is_in_memory(self, memory):
        agent, kept = (trained(f"dqn{part}{memory}", buffer_size=1000) for part in ("+reset_buffer", ""))
        assert agent.algorithm.replay_buffer.size() == 70
        assert kept.algorithm.replay_buffer.size() == 140

    def test_nothing_changes_in_the_first_task(self):
        one = {"nb_tasks": 1}
        agent, plain = trained("dqn+reset_buffer", one), trained("dqn", one)
        assert agent.algorithm.replay_buffer.size() == plain.algorithm.replay_buffer.size() == 48

    def test_an_agent_without_a_memory_is_refused(self):
        with pytest.raises(
            InvalidOptionError, match=r"^The method a2c\+reset_buffer cannot be made: .*choose dqn, sac"
        ):
            joined("a2c+reset_buffer")


class TestPerfectMemory:
    @pytest.mark.parametrize("cls", [{}, {"cls": ContinualRLSetting}])
    @pytest.mark.parametrize("n_envs", [1, 2])
    def test_every_step_of_the_run_is_there(self, cls, n_envs):
        agent = trained("dqn+perfect_memory", cls, buffer_size=16, n_envs=n_envs)
        assert agent.algorithm.replay_buffer.size() * n_envs == 2 * 70
        rewards = agent.algorithm.replay_buffer.rewards[: 2 * 70 // n_envs]
        assert (rewards == 1).all()
        plain = trained("dqn", cls, buffer_size=16, n_envs=n_envs)
        assert plain.algorithm.replay_buffer.size() * n_envs == 16

    def test_a_memory_that_was_large_enough_makes_no_difference(self):
        ours, theirs = trained("dqn+perfect_memory", buffer_size=200), trained("dqn", buffer_size=200)
        assert same(ours.state_dict(), theirs.state_dict())

    def test_a_state_holds_what_was_learned(self):
        agent, other = trained("dqn+perfect_memory", buffer_size=16), untrained("dqn+perfect_memory", buffer_size=16)
        other.load_state_dict(agent.state_dict())
        assert same(agent.state_dict(), other.state_dict())
        assert agent.costs() == other.costs()

    def test_the_librarys_sum_of_rewards_is_refused(self):
        with pytest.raises(InvalidOptionError, match="--n_steps 3 needs the library's own replay memory"):
            untrained("dqn+perfect_memory", n_steps=3)

    def test_an_agent_without_a_memory_is_refused(self):
        with pytest.raises(
            InvalidOptionError, match=r"^The method ppo\+perfect_memory cannot be made: .*choose dqn, sac"
        ):
            joined("ppo+perfect_memory")


def stored(agent):
    """Numbers of the steps, from the start of the run, that are in memory."""
    memory = agent.algorithm.replay_buffer
    return sorted((memory.rows.n_seen - 1 - memory.rows.ages()).tolist())


class TestRehearsal:
    @pytest.mark.parametrize("cls", [IncrementalRLSetting, ContinualRLSetting])
    def test_it_is_the_reservoir_of_the_other_limb(self, cls):
        agent = trained("dqn+rehearsal", {"cls": cls}, buffer_size=30)
        expected = RehearsalBuffer(30, seed=derive_seed(agent.setting.seed, "buffer", 0))
        expected.add({"number": torch.arange(140)})
        assert stored(agent) == sorted(expected.all()["number"].tolist())

    def test_steps_are_those_of_a_memory_that_is_large_enough(self):
        """Nothing is trained, so that both take the same steps."""
        quiet = {"learning_starts": 1000, "buffer_size": 140}
        ours, theirs = trained("dqn+rehearsal", **quiet), trained("dqn", **quiet)
        rows, arrays = ours.algorithm.replay_buffer.rows.all(), theirs.algorithm.replay_buffer
        for leaf in ("observations", "actions", "next_observations"):
            assert rows[leaf].tolist() == getattr(arrays, leaf)[:, 0].tolist()

    def test_the_newest_of_each_task_can_be_kept_instead(self):
        agent = trained("dqn+rehearsal", buffer_size=30, buffer_policy="ring")
        assert isinstance(agent.algorithm.replay_buffer.rows.policy, Ring)
        assert stored(agent) == [*range(55, 70), *range(125, 140)]

    def test_tasks_can_have_equal_shares_of_a_draw(self):
        agent = trained("dqn+rehearsal", buffer_size=100, buffer_sampler="task_balanced")
        memory = agent.algorithm.replay_buffer
        assert isinstance(memory.rows.sampler, TaskBalanced)
        slots = memory.rows.draw(20)
        assert torch.bincount(memory.rows.read(slots)["task_id"]).tolist() == [10, 10]

    @pytest.mark.parametrize("options", [{"buffer_sampler": "task_balanced"}, {"buffer_policy": "ring"}])
    def test_hidden_tasks_can_have_no_shares(self, options):
        with pytest.raises(InvalidOptionError, match="needs task ids, which ContinualRLSetting does not give; choose"):
            configured(joined("dqn+rehearsal", **options), small_setting("CartPole-v1", cls=ContinualRLSetting))

    @pytest.mark.parametrize("name", ["dqn", "sac", "td3"])
    def test_a_state_holds_what_was_learned(self, name):
        options = {"n_envs": 2} if name == "dqn" else {}
        agent = trained(f"{name}+rehearsal", {"steps_per_task": 20}, **options)
        other = untrained(f"{name}+rehearsal", **options)
        other.load_state_dict(agent.state_dict())
        assert same(agent.state_dict(), other.state_dict())
        assert agent.costs() == other.costs()
        assert agent.costs()["buffer_bytes"] == agent.algorithm.replay_buffer.rows.nbytes > 0

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ({"buffer_size": 0}, "--buffer_size 0 has to be at least 1"),
            ({"buffer_policy": "herding"}, "--buffer_policy herding is unknown; choose one of reservoir, ring"),
            ({"buffer_sampler": "mir"}, "--buffer_sampler mir is unknown; choose one of uniform, task_balanced"),
        ],
    )
    def test_options_that_make_no_sense(self, options, sentence):
        with pytest.raises(InvalidOptionError, match=sentence):
            joined("dqn+rehearsal", **options)

    def test_there_is_one_memory(self):
        with pytest.raises(InvalidOptionError, match=r"rehearsal and perfect_memory each are a replay memory"):
            joined("dqn+rehearsal+perfect_memory")
