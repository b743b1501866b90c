"""Replay memories for the library's algorithms."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer

from redwood.buffers import RehearsalBuffer, TaskBalanced
from redwood.methods.agents.memories import BLOCK, GrowingMemory, RehearsalMemory
from tests.buffers.statistics import ALPHA, draw_p_value

OBSERVATIONS = spaces.Box(-1e6, 1e6, (3,), np.float32)
ACTIONS = {"discrete": spaces.Discrete(4), "box": spaces.Box(-1, 1, (2,), np.float32)}
LEAVES = ("observations", "actions", "next_observations", "dones", "rewards")


def make(capacity):
    return RehearsalBuffer(capacity, seed=5)


def memory_of(capacity, n_envs=1, actions="discrete", make=make):
    return RehearsalMemory(capacity, OBSERVATIONS, ACTIONS[actions], "cpu", n_envs, make=make)


def step(number, n_envs=1, actions="discrete"):
    """One step of each environment; `number` can be read from its observations and rewards."""
    numbers = (number * n_envs + np.arange(n_envs)).astype(np.float32)
    observations = numbers[:, None] + np.array([0.0, 0.25, 0.5], np.float32)
    action = np.stack([ACTIONS[actions].sample() for _ in range(n_envs)])
    done = numbers % 5 == 0
    infos = [{"TimeLimit.truncated": n % 10 == 0, "task_id": int(n) // 100} for n in numbers]
    return observations, observations + 1, action, -numbers, done, infos


def filled(memory, n_steps, actions="discrete"):
    for number in range(n_steps):
        memory.add(*step(number, memory.n_envs, actions))
    return memory


def ids(memory):
    """Numbers of the steps that are stored."""
    return memory.rows.all()["observations"][:, 0].long().tolist()


@pytest.mark.parametrize("actions", ACTIONS)
@pytest.mark.parametrize("n_envs", [1, 3])
def test_what_comes_out_is_what_went_in(n_envs, actions, monkeypatch):
    """Step by step what the library's own memory gives."""
    n_steps = BLOCK + 7
    memory = memory_of(n_steps * n_envs, n_envs, actions)
    theirs = ReplayBuffer(n_steps * n_envs, OBSERVATIONS, ACTIONS[actions], "cpu", n_envs)
    for number in range(n_steps):
        one = step(number, n_envs, actions)
        memory.add(*one)
        theirs.add(*one)
    mine = memory.sample(n_steps * n_envs)
    steps, copies = np.divmod((-mine.rewards[:, 0]).long().numpy(), n_envs)
    assert sorted((steps * n_envs + copies).tolist()) == list(range(n_steps * n_envs))
    monkeypatch.setattr(np.random, "randint", lambda *args, **options: copies)
    others = theirs._get_samples(steps)
    for leaf in LEAVES:
        assert getattr(mine, leaf).dtype == getattr(others, leaf).dtype
        assert torch.equal(getattr(mine, leaf), getattr(others, leaf))


def test_an_episode_that_was_cut_off_counts_as_going_on():
    memory = filled(memory_of(50), 50)
    sample = memory.sample(50)
    ended = sorted(sample.observations[sample.dones[:, 0] == 1, 0].tolist())
    assert ended == [5, 15, 25, 35, 45]


@pytest.mark.parametrize("every", [1, 4, 1000])
def test_it_stores_what_the_buffer_stores_that_gets_one_step_after_the_other(every):
    n_steps = 2 * BLOCK + 30
    memory, alone = memory_of(40), make(40)
    for number in range(n_steps):
        one = step(number)
        memory.add(*one)
        alone.add({"observations": torch.from_numpy(one[0])})
        if number % every == 0:
            memory.sample(2)
    assert ids(memory) == alone.all()["observations"][:, 0].long().tolist()
    assert memory.rows.n_seen == n_steps


def test_every_step_of_the_run_is_as_likely_to_be_there():
    n_steps, capacity = 300, 60
    counts = torch.zeros(n_steps)
    for seed in range(20):
        counts[ids(filled(memory_of(capacity, make=lambda n, seed=seed: RehearsalBuffer(n, seed=seed)), n_steps))] += 1
    in_tenths = counts.view(10, -1).sum(1)
    assert draw_p_value(in_tenths, capacity, 20, torch.full((10,), 30)) > ALPHA


def test_no_step_is_lost_while_there_is_room():
    memory = memory_of(1000)
    for number in range(BLOCK + 3):
        memory.add(*step(number))
        assert memory.size() == number + 1
    assert ids(memory) == list(range(BLOCK + 3))


def test_a_draw_repeats_no_step_unless_there_are_too_few():
    memory = filled(memory_of(100), 40)
    assert len(set(memory.sample(32).rewards[:, 0].tolist())) == 32
    few = filled(memory_of(100), 10)
    counts = torch.bincount(-few.sample(32).rewards[:, 0].long())
    assert sorted(counts.tolist()) == [3] * 8 + [4] * 2


def test_a_reset_empties_it():
    memory = filled(memory_of(100), 30)
    memory.reset()
    assert memory.size() == 0
    filled(memory, 5)
    assert ids(memory) == list(range(5))
    memory.add(*step(7))
    memory.reset()
    memory.add(*step(8))
    assert ids(memory) == [8]


@pytest.mark.parametrize("n_steps", [7, 3 * BLOCK + 7])
def test_a_state_goes_on_exactly(n_steps):
    memory, other = filled(memory_of(100), n_steps), memory_of(100)
    other.rows.load_state_dict(memory.rows.state_dict())
    for number in range(n_steps, n_steps + 300):
        for one in (memory, other):
            one.add(*step(number))
        if number % 50 == 0:
            drawn = [one.sample(16).observations for one in (memory, other)]
            assert torch.equal(*drawn)
    assert ids(memory) == ids(other)


def test_tasks_have_equal_shares_of_a_draw_if_asked_for():
    memory = memory_of(400, make=lambda n: RehearsalBuffer(n, sampler=TaskBalanced(), seed=1))
    filled(memory, 330)
    tasks = torch.cat([memory.sample(40).observations[:, 0] // 100 for _ in range(20)])
    assert torch.bincount(tasks.long()).tolist() == [200] * 4


@pytest.mark.parametrize("actions", ACTIONS)
def test_a_growing_memory_holds_what_a_large_memory_holds(actions):
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
