import pytest

from redwood.core.errors import InvalidOptionError
from tests.methods.agents.parts import joined, trained


@pytest.mark.parametrize("memory", ["", "+rehearsal", "+perfect_memory"])
def test_only_the_last_task_is_in_memory(memory):
    agent, kept = (trained(f"dqn{part}{memory}", buffer_size=1000) for part in ("+reset_buffer", ""))
    assert agent.algorithm.replay_buffer.size() == 70
    assert kept.algorithm.replay_buffer.size() == 140


def test_nothing_changes_in_the_first_task():
    one = {"nb_tasks": 1}
    agent, plain = trained("dqn+reset_buffer", one), trained("dqn", one)
    assert agent.algorithm.replay_buffer.size() == plain.algorithm.replay_buffer.size() == 48


def test_an_agent_without_a_memory_is_refused():
    with pytest.raises(InvalidOptionError, match=r"^The method reset_buffer\+a2c cannot be made: .*choose dqn, sac"):
        joined("a2c+reset_buffer")
