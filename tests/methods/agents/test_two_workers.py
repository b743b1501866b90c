"""Two workers with environments of their own train one agent: their weights are the same, bit for bit."""

import shutil
from functools import partial

import numpy as np
import pytest
import torch

from redwood.core.errors import InvalidOptionError
from redwood.core.workers import rank
from redwood.methods.agents.on_policy import PPO
from redwood.methods.agents.sb3_loop import SB3Loop
from redwood.settings.rl.tree import DistributedIncrementalRLSetting, DistributedTaskIncrementalRLSetting
from tests.methods.agents.runs import SMALL, configured, same, small_setting
from tests.small_runs import comparable, run_here

SETTING = partial(small_setting, cls=DistributedIncrementalRLSetting, steps_per_task=80)
HEADS = ("weight_", "bias_", "log_std_")  # the names of their parameters begin so, and end with the task
WITH_IDS = partial(small_setting, cls=DistributedTaskIncrementalRLSetting, steps_per_task=80)


def train(case, **options):
    """Train an agent, such as `ppo` or `ppo, heads`; what it comes to, and its state with the newest observations."""
    name, _, heads = case.partition(", ")
    make, env = SMALL[name]
    agent = make(task_input=heads) if heads else make()
    agent.reads_recent = True
    results = run_here((WITH_IDS if heads else SETTING)(env), agent, **options)
    return comparable(results), agent.state_dict() | {"newest": torch.from_numpy(np.stack(agent.newest))}


def train_and_watch_heads(name):
    """The tasks whose heads each phase has changed, and the state after all phases."""
    make, env = SMALL[name]
    agent = make(task_input="heads")
    agent.reads_recent = True
    fit, changed = agent.fit, []

    def heads():
        parameters = agent.named_parameters().items()
        return {name: p.detach().clone() for name, p in parameters if name.split(".")[-1].startswith(HEADS)}

    def watched(phase):
        before = heads()
        fit(phase)
        changed.append({int(name[-1]) for name, now in heads().items() if not torch.equal(now, before[name])})

    agent.fit = watched
    run_here(WITH_IDS(env), agent)
    return changed, agent.state_dict() | {"newest": torch.from_numpy(np.stack(agent.newest))}


def train_and_resume(case, folder):
    """What a run comes to, and one that is killed inside the second phase, on a worker of two."""
    copies = []
    save = SB3Loop._save

    def copying(self):
        save(self)
        torch.distributed.barrier()
        copies.append(folder / f"copy_{len(copies)}")
        if rank() == 0:
            shutil.copytree(folder / "run", copies[-1])
        torch.distributed.barrier()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SB3Loop, "_save", copying)
        whole = train(case, run_dir=str(folder / "run"), checkpoint_every=15)
    return whole, train(case, run_dir=str(copies[-1]), checkpoint_every=15, resume=True)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in ("a2c", "td3") else []) for name in SMALL]
)
def test_weights_are_equal_and_experience_is_not(name, two_workers):
    (results, first), (others, second) = two_workers.run(train, name)
    assert results == others
    for learned in ("parameters", "variables"):
        assert same(first["algorithm_state"][learned], second["algorithm_state"][learned])
    assert not torch.equal(first["newest"], second["newest"])


@pytest.mark.parametrize(
    ("name", "trained_later"), [("ppo", {1}), ("dqn", {0, 1}), pytest.param("sac", {0, 1}, marks=pytest.mark.slow)]
)
def test_heads_of_tasks_outside_the_batches_of_both_workers_stay(name, trained_later, two_workers):
    """On policy, those are the heads of all other tasks; off policy, the memory still has steps of the first task."""
    (changed, first), (others, second) = two_workers.run(train_and_watch_heads, name)
    assert changed == others == [{0}, trained_later]
    for learned in ("parameters", "variables"):
        assert same(first["algorithm_state"][learned], second["algorithm_state"][learned])
    assert not torch.equal(first["newest"], second["newest"])


@pytest.mark.parametrize("case", ["dqn", pytest.param("sac, heads", marks=pytest.mark.slow)])
def test_resumed_inside_a_phase(case, two_workers, tmp_path):
    for whole, resumed in two_workers.run(train_and_resume, case, tmp_path):
        assert same(whole, resumed)


def test_updates_have_to_be_as_many_on_all_workers():
    with pytest.raises(InvalidOptionError, match=r"--target_kl 0\.1 .* but 2 workers .*; leave it out\.$"):
        configured(PPO(target_kl=0.1), SETTING("CartPole-v1"))
