import pytest
import torch

from redwood.core.seeding import seed_everything
from redwood.engine.run import Run
from redwood.settings.rl.phase import ReinforcementPhase
from tests.methods.agents.parts import joined, setting_for, trained, untrained
from tests.methods.agents.runs import same


@pytest.mark.parametrize("name", ["dqn", "ppo", pytest.param("sac", marks=pytest.mark.slow)])
def test_the_second_task_is_learned_as_if_there_had_been_no_first(name):
    few = {"steps_per_task": 24}
    agent = trained(f"{name}+scratch", few)
    setting = setting_for(name, **few)
    alone = joined(name)
    alone.attach(Run(quiet=True, accelerator="cpu"))
    seed_everything(setting.seed, "new weights", 1)
    alone.configure(setting.for_method())
    alone.phase_count = 1
    seed_everything(setting.seed, "phase", 1, 0)
    phase: ReinforcementPhase = setting.open_stream().phase(1)
    alone.fit(phase)
    assert same(agent.state_dict()["algorithm_state"], alone.state_dict()["algorithm_state"])


def test_the_first_task_is_learned_as_without_it():
    one = {"nb_tasks": 1}
    assert same(trained("dqn+scratch", one).state_dict(), trained("dqn", one).state_dict())


def test_a_task_begins_with_new_weights_and_an_empty_memory():
    agent = trained("dqn+scratch", {"nb_tasks": 1})
    before, costs = agent.state_dict(), agent.costs()
    torch.manual_seed(3)
    drawn = torch.get_rng_state()
    agent.on_task_start(1)
    assert torch.equal(torch.get_rng_state(), drawn)
    after = agent.state_dict()
    assert after["phase_count"] == before["phase_count"] == 1
    assert agent.algorithm.replay_buffer.size() == 0
    assert not any(optimizer.state for optimizer in agent.optimizers())
    assert agent.costs()["training_flops"] == costs["training_flops"] > 0
    old, new = (state["algorithm_state"]["parameters"]["policy"] for state in (before, after))
    assert not any(torch.equal(old[key], new[key]) for key in old)
    first = untrained("dqn").state_dict()["algorithm_state"]["parameters"]["policy"]
    assert not any(torch.equal(first[key], new[key]) for key in new)
