"""What all parts of agents have in common."""

import pickle

import pytest
import torch

from redwood.core.errors import InvalidOptionError
from redwood.core.registry import load_object
from redwood.methods import AGENT_PARTS, get_method
from redwood.settings import get_setting
from redwood.settings.rl.tree import DistributedIncrementalRLSetting, DistributedTaskIncrementalRLSetting
from tests.methods.agents.parts import NEEDS_A_MEMORY, joined, setting_for, trained, with_part
from tests.methods.agents.runs import same, small_setting
from tests.methods.helpers import one_sentence
from tests.small_runs import run_here

TARGETS = {
    "continual_rl": {"perfect_memory", "rehearsal"},
    "incremental_rl": {"agem", "cloning", "ewc", "l2", "mas", "reset_buffer", "reset_critic", "scratch"},
    "task_incremental_rl": {"best_return", "packnet"},
}


@pytest.mark.parametrize("key", TARGETS)
def test_what_they_need_to_be_told(key):
    cls = get_setting(key)
    assert {
        part for part in AGENT_PARTS if load_object("method", AGENT_PARTS[part].reference).target is cls
    } == TARGETS[key]
    assert all(get_method(f"sac+{part}").target is cls for part in TARGETS[key])


@pytest.mark.parametrize("agent", ["ppo", "a2c"])
@pytest.mark.parametrize("part", AGENT_PARTS)
def test_a_memory_has_to_be_there_to_be_changed(agent, part):
    if part not in NEEDS_A_MEMORY:
        assert joined(f"{agent}+{part}")
        return
    with pytest.raises(InvalidOptionError) as caught:
        joined(f"{agent}+{part}")
    assert one_sentence(caught.value)


@pytest.mark.parametrize("part", AGENT_PARTS)
def test_they_can_be_sent_to_another_process(part):
    agent = trained(with_part(part), {"steps_per_task": 24})
    received = pickle.loads(pickle.dumps(agent))
    assert same(received.state_dict(), agent.state_dict())


@pytest.mark.parametrize("part", AGENT_PARTS)
def test_they_apply_to_the_limit_of_their_settings(part):
    """One phase of several tasks."""
    cls = get_setting("multi_task_rl")
    agent = joined(with_part(part))
    results = run_here(setting_for(with_part(part), cls=cls, steps_per_task=24), agent)
    assert len(results.accuracy_matrix) == 1


@pytest.mark.parametrize("name", ["a2c+ewc", "sac+ewc", "a2c+packnet", "sac+packnet"])
def test_noise_may_depend_on_the_state(name):
    """The deviation is then no output of a layer, but a matrix of parameters."""
    agent = joined(name, use_sde=True)
    cls = get_setting("task_incremental_rl")
    results = run_here(small_setting("Pendulum-v1", cls=cls, steps_per_task=24), agent)
    if "ewc" in name:
        assert any("log_std" in key and bool(value.any()) for key, value in agent.curvature.items())
    else:
        assert any("log_std" in key for key in agent.own_values[0])
        assert results.accuracy_matrix[0][0] == results.accuracy_matrix[1][0]


WORKERS = (
    "dqn+ewc+rehearsal",
    "ppo+packnet",
    "a2c+l2+reset_critic",
    "ppo+cloning",
    "sac+mas",
    "dqn+agem",
    "dqn+perfect_memory",
    "dqn+reset_buffer+scratch",
)


def weights_of_all():
    found = {}
    for name in WORKERS:
        cls = DistributedTaskIncrementalRLSetting if "packnet" in name else DistributedIncrementalRLSetting
        agent = joined(name)
        # Let go of at the end of a run.
        agent.on_finish = lambda results: None
        run_here(setting_for(name, cls=cls, workers=2, steps_per_task=80), agent)
        learned = {key: p.detach() for key, p in agent.named_parameters().items()}
        kept = {key: getattr(agent, key, None) for key in ("curvature", "minimum", "owner", "own_values")}
        memory = getattr(agent.algorithm, "replay_buffer", None)
        found[name] = (learned, kept, None if memory is None else memory.size())
    return found


@pytest.mark.slow
def test_two_workers_learn_the_same(two_workers):
    first, second = two_workers.run(weights_of_all)
    for name in WORKERS:
        assert same(first[name], second[name])
    assert first["dqn+ewc+rehearsal"][2] == 24
    assert first["dqn+perfect_memory"][2] == 2 * 40
    assert first["dqn+reset_buffer+scratch"][2] == 40
    owner = first["ppo+packnet"][1]["owner"]
    assert all(torch.bincount(part.flatten().long(), minlength=3).all() for part in owner.values())
