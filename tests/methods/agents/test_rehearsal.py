import pytest
import torch

from redwood.buffers import RehearsalBuffer, Ring, TaskBalanced
from redwood.core.errors import InvalidOptionError
from redwood.core.seeding import derive_seed
from redwood.settings.rl.tree import ContinualRLSetting, IncrementalRLSetting
from tests.methods.agents.parts import joined, trained, untrained
from tests.methods.agents.runs import configured, same, small_setting


def stored(agent):
    """Numbers of the steps, from the start of the run, that are in memory."""
    memory = agent.algorithm.replay_buffer
    return sorted((memory.rows.n_seen - 1 - memory.rows.ages()).tolist())


@pytest.mark.parametrize("cls", [IncrementalRLSetting, ContinualRLSetting])
def test_it_is_the_reservoir_of_the_other_limb(cls):
    agent = trained("dqn+rehearsal", {"cls": cls}, buffer_size=30)
    expected = RehearsalBuffer(30, seed=derive_seed(agent.setting.seed, "buffer", 0))
    expected.add({"number": torch.arange(140)})
    assert stored(agent) == sorted(expected.all()["number"].tolist())


def test_steps_are_those_of_a_memory_that_is_large_enough():
    """Nothing is trained, so that both take the same steps."""
    quiet = {"learning_starts": 1000, "buffer_size": 140}
    ours, theirs = trained("dqn+rehearsal", **quiet), trained("dqn", **quiet)
    rows, arrays = ours.algorithm.replay_buffer.rows.all(), theirs.algorithm.replay_buffer
    for leaf in ("observations", "actions", "next_observations"):
        assert rows[leaf].tolist() == getattr(arrays, leaf)[:, 0].tolist()


def test_the_newest_of_each_task_can_be_kept_instead():
    agent = trained("dqn+rehearsal", buffer_size=30, buffer_policy="ring")
    assert isinstance(agent.algorithm.replay_buffer.rows.policy, Ring)
    assert stored(agent) == [*range(55, 70), *range(125, 140)]


def test_tasks_can_have_equal_shares_of_a_draw():
    agent = trained("dqn+rehearsal", buffer_size=100, buffer_sampler="task_balanced")
    memory = agent.algorithm.replay_buffer
    assert isinstance(memory.rows.sampler, TaskBalanced)
    slots = memory.rows.draw(20)
    assert torch.bincount(memory.rows.read(slots)["task_id"]).tolist() == [10, 10]


@pytest.mark.parametrize("options", [{"buffer_sampler": "task_balanced"}, {"buffer_policy": "ring"}])
def test_hidden_tasks_can_have_no_shares(options):
    with pytest.raises(InvalidOptionError, match="needs task ids, which ContinualRLSetting does not give; choose"):
        configured(joined("dqn+rehearsal", **options), small_setting("CartPole-v1", cls=ContinualRLSetting))


@pytest.mark.parametrize("name", ["dqn", "sac", "td3"])
def test_a_state_holds_what_was_learned(name):
    options = {"n_envs": 2} if name == "dqn" else {}
    agent = trained(f"{name}+rehearsal", {"steps_per_task": 20}, **options)
    other = untrained(f"{name}+rehearsal", **options)
    other.load_state_dict(agent.state_dict())
    assert same(agent.state_dict(), other.state_dict())
    assert agent.costs() == other.costs()
    assert agent.costs()["buffer_bytes"] == agent.algorithm.replay_buffer.nbytes > 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"buffer_size": 0}, "--buffer_size 0 has to be at least 1"),
        ({"buffer_policy": "herding"}, "--buffer_policy herding is unknown; choose one of reservoir, ring"),
        ({"buffer_sampler": "mir"}, "--buffer_sampler mir is unknown; choose one of uniform, task_balanced"),
    ],
)
def test_options_that_make_no_sense(options, sentence):
    with pytest.raises(InvalidOptionError, match=sentence):
        joined("dqn+rehearsal", **options)


def test_there_is_one_memory():
    with pytest.raises(InvalidOptionError, match=r"rehearsal and perfect_memory each are a replay memory"):
        joined("dqn+rehearsal+perfect_memory")
