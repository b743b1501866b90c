"""Each batch has equal parts of all tasks."""

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete

from redwood.core.errors import InvalidOptionError
from redwood.methods.agents.on_policy import PPO
from redwood.methods.agents.task_shares import EqualSharesMemory, EqualSharesRollout
from redwood.settings.rl.tree import IncrementalRLSetting, MultiTaskRLSetting, TraditionalRLSetting
from tests.methods.agents.parts import joined
from tests.methods.agents.runs import SMALL, configured, same, small_setting
from tests.methods.helpers import one_sentence
from tests.small_runs import comparable, run_here

SEEN, ACTIONS = Box(-1e6, 1e6, (2,)), Discrete(50)


def test_draws_are_whole_steps_and_equally_many_of_each_task():
    memory = EqualSharesMemory(40, SEEN, ACTIONS, "cpu", n_envs=6, num_tasks=3)  # 6 steps of 6 environments
    for step in range(5):
        rows = np.arange(6) + 6 * step
        seen = np.stack([rows, rows], 1).astype(np.float32)
        infos = [{"TimeLimit.truncated": env == 1} for env in range(6)]
        memory.add(seen, seen + 0.5, rows[:, None], rows + 0.25, np.array([env < 2 for env in range(6)]), infos)
    np.random.seed(0)
    rows = set()
    for size in (3, 12, 13):
        drawn = memory.sample(size)
        row = drawn.observations[:, 0].long()
        rows |= set(row.tolist())
        counts = torch.bincount(row % 3, minlength=3)
        assert counts.min() == size // 3 and counts.max() == -(-size // 3)
        assert torch.equal(drawn.actions[:, 0], row)
        assert torch.equal(drawn.next_observations[:, 1], row + 0.5)
        assert torch.equal(drawn.rewards[:, 0], row + 0.25)
        assert torch.equal(drawn.dones[:, 0], (row % 6 == 0).float())  # those of environment 1 were cut off
    assert len(rows) > 15
    assert {row % 6 for row in rows} == set(range(6))
    first = np.concatenate([memory.sample(4).observations[:, 0].numpy() for _ in range(300)])
    assert np.bincount(first.astype(int) % 3).min() > 330  # the step more is of any task


@pytest.mark.parametrize("batch_size", [4, 6, 12, None])
def test_all_steps_of_a_rollout_come_once_and_tasks_take_turns(batch_size):
    rollout = EqualSharesRollout(4, SEEN, ACTIONS, "cpu", n_envs=6, num_tasks=3)
    for step in range(4):
        rows = np.arange(6) + 6 * step
        seen = np.stack([rows, rows], 1).astype(np.float32)
        rollout.add(seen, rows[:, None], rows.astype(np.float32), np.zeros(6), torch.zeros(6), torch.zeros(6))
    np.random.seed(0)
    orders = []
    for _ in range(2):  # the arrays are flattened only once
        batches = [batch.observations[:, 0].long() for batch in rollout.get(batch_size)]
        for rows in batches:
            counts = torch.bincount(rows % 3, minlength=3)
            assert counts.max() - counts.min() <= 1
        orders.append(torch.cat(batches).tolist())
        assert sorted(orders[-1]) == list(range(24))
    assert orders[0] != orders[1]


@pytest.mark.parametrize("cls", [MultiTaskRLSetting, TraditionalRLSetting])
def test_each_environment_keeps_its_task(cls):
    phase = small_setting("CartPole-v1", cls, nb_tasks=3, steps_per_task=60).open_stream().phase(0)
    environments = phase.environments(6, each_task=True)
    for number, env in enumerate(environments):
        told = [env.reset()[1]["task_id"] for _ in range(5)]
        assert told == [number % 3] * 5
    physics = [env.unwrapped.length for env in environments]
    assert physics[:3] == physics[3:]
    assert len(set(physics)) == 3


@pytest.mark.parametrize("name", ["ppo", "dqn", pytest.param("sac", marks=pytest.mark.slow)])
def test_batches_of_an_agent(name, monkeypatch):
    """Also where the environments are in other processes."""
    counted = []
    cls = EqualSharesRollout if name == "ppo" else EqualSharesMemory
    draw = cls._get_samples if name == "ppo" else cls.sample

    def watch(self, *args, **options):
        found = draw(self, *args, **options)
        counted.append(found.observations[:, -2:].sum(0).tolist())
        return found

    monkeypatch.setattr(cls, "_get_samples" if name == "ppo" else "sample", watch)
    setting = small_setting(SMALL[name][1], MultiTaskRLSetting, steps_per_task=64)
    outcomes = []
    for processes in (0, 2):
        agent = joined(name, n_envs=4, task_shares="equal", env_processes=processes, batch_size=8)
        results = run_here(setting, agent)
        outcomes.append(({key: v for key, v in comparable(results).items() if key != "config"}, agent.state_dict()))
    assert same(outcomes[0][1], outcomes[1][1])
    assert outcomes[0][0] == outcomes[1][0]
    equal = [count for count in counted if sum(count) == 8]
    assert len(equal) > 10
    assert set(map(tuple, equal)) == {(4.0, 4.0)}


@pytest.mark.parametrize(
    ("name", "cls", "options", "words"),
    [
        (
            "ppo",
            IncrementalRLSetting,
            {"n_envs": 2},
            "equal is for phases with all tasks, and Incremental",
        ),
        ("ppo", MultiTaskRLSetting, {"n_envs": 3}, "of each of 2 tasks; use a multiple for --n_envs, not 3"),
        ("dqn", MultiTaskRLSetting, {"n_envs": 2, "batch_size": 1}, "--batch_size 1 has no room for each of 2 tasks"),
        ("dqn", MultiTaskRLSetting, {"n_envs": 2, "n_steps": 3}, "--n_steps 3 does not go with --task_shares equal"),
        ("dqn+rehearsal", MultiTaskRLSetting, {"n_envs": 2}, r"which dqn\+rehearsal replaces; leave it out"),
    ],
)
def test_refused(name, cls, options, words):
    agent = joined(name, task_shares="equal", **options)
    with pytest.raises(InvalidOptionError, match=words) as caught:
        configured(agent, small_setting("CartPole-v1", cls))
    assert one_sentence(caught.value)
    with pytest.raises(InvalidOptionError, match="--task_shares even is unknown"):
        PPO(task_shares="even")
