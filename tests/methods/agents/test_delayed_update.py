"""Updates beside the steps of the environments: what they change, and what they do not."""

import time
from functools import partial

import numpy as np
import pytest
import torch
from stable_baselines3.common.vec_env import DummyVecEnv

from redwood.cli import main
from redwood.core.errors import InvalidOptionError
from redwood.core.seeding import derive_seed, seed_everything
from redwood.methods.agents.off_policy import DQN, SAC, TD3
from redwood.methods.agents.on_policy import A2C
from redwood.methods.lookup import get_method
from redwood.settings.rl.processes import EnvironmentProcesses
from redwood.settings.rl.tree import ContinualRLSetting
from tests.methods.agents.runs import SMALL, configured, same, small_setting
from tests.small_runs import comparable, run_here

BESIDE = {"env_processes": 1, "overlap_rollout": True}
AGENTS = {
    "dqn": (partial(DQN, learning_starts=10, batch_size=4), "CartPole-v1"),
    "dqn, environments": (partial(DQN, learning_starts=10, batch_size=4, n_envs=3), "CartPole-v1"),
    "dqn, as many updates as steps": (
        partial(DQN, learning_starts=10, batch_size=4, n_envs=2, gradient_steps=-1),
        "CartPole-v1",
    ),
    "sac": (partial(SAC, learning_starts=8, batch_size=4), "Pendulum-v1"),
    "td3, noise": (partial(TD3, learning_starts=8, batch_size=4, action_noise="ou", n_envs=2), "Pendulum-v1"),
}


def noted(agent, env, steps=70, **setting_options):
    """Train for a phase; return the agent and what happened, with the updates so far and the transitions stored."""
    setting = small_setting(env, **{"steps_per_task": steps} | setting_options)
    agent = configured(agent, setting)
    phase = setting.open_stream().phase(0)
    algorithm, events = agent.algorithm, []

    def noting(name, function):
        def wrapped(*args, **kwargs):
            events.append((name, algorithm._n_updates, algorithm.replay_buffer.size() * agent.n_envs))
            return function(*args, **kwargs)

        return wrapped

    algorithm._sample_action = noting("act", algorithm._sample_action)
    algorithm.train = noting("update", algorithm.train)
    algorithm._store_transition = noting("store", algorithm._store_transition)
    seed_everything(1, "training")
    agent.fit(phase)
    phase.close()
    return agent, phase, events


def of(kind, events):
    return [numbers for name, *numbers in events if name == kind]


@pytest.mark.parametrize("case", AGENTS)
def test_only_the_action_beside_an_update_precedes_it(case):
    """Steps, updates and the transitions that they draw from are those of the library's order."""
    make, env = AGENTS[case]
    plain, phase, expected = noted(make(), env)
    agent, other_phase, events = noted(make(**BESIDE), env)
    assert phase.budget.spent == other_phase.budget.spent == 70 // agent.n_envs * agent.n_envs
    assert of("store", events) == of("store", expected) != []
    assert of("update", events) == of("update", expected) != []
    assert agent.algorithm._n_updates == plain.algorithm._n_updates > 0
    assert agent.flops.state_dict()["steps"] == plain.flops.state_dict()["steps"]

    updates = of("act", expected)
    per_update = plain.algorithm._n_updates // len(of("update", expected))
    for step, (done, stored) in enumerate(of("act", events)):
        beside = step > 0 and updates[step][0] > updates[step - 1][0]
        assert (done, stored) == (updates[step][0] - per_update * beside, updates[step][1])


@pytest.mark.parametrize("steps", [24, 25])
def test_the_update_after_the_last_step_is_computed(steps):
    """Whether the library's loop ends by itself, or is ended because the next rollout does not fit."""
    agent, phase, events = noted(DQN(learning_starts=10, batch_size=4, **BESIDE), "CartPole-v1", steps)
    assert phase.budget.left == 0
    assert of("update", events)[-1] == [3, 24]
    assert agent.algorithm._n_updates == 4


def test_a_policy_that_does_not_change_has_equal_transitions():
    """Each action comes to its observation, reward and end of an episode; and none is lost or taken twice."""
    frozen = partial(DQN, learning_starts=0, exploration_initial_eps=0, exploration_final_eps=0, learning_rate=1e-30)
    stored = []
    for options in ({}, {"env_processes": 2, "overlap_rollout": True}):
        agent, _, _ = noted(frozen(batch_size=4, train_freq=1, n_envs=2, buffer_size=200, **options), "CartPole-v1")
        memory = agent.algorithm.replay_buffer
        assert memory.pos == 35 and memory.dones[:35].any()
        names = ("observations", "actions", "rewards", "dones", "next_observations")
        stored.append([getattr(memory, name)[:35] for name in names])
    assert all(np.array_equal(here, there) for here, there in zip(*stored, strict=True))


def test_weights_are_those_of_the_library_with_delayed_updates():
    """The library alone, whose updates are called between its choice of actions and the step of the environments."""
    make, env = SMALL["sac"]
    agent, _, _ = noted(make(**BESIDE), env)
    setting = small_setting(env, steps_per_task=1000)
    phase = setting.open_stream().phase(0)

    seed_everything(0, "weights")
    alone = SAC.algorithm_class()("MlpPolicy", DummyVecEnv([lambda: phase.train]), device="cpu", **make.keywords)
    alone.action_space.seed(derive_seed(setting.seed, "exploration", 0, 0) % 2**31)
    train, sample, due = alone.train, alone._sample_action, []

    def sample_then_update(*args):
        actions = sample(*args)
        while due:
            train(**due.pop())
        return actions

    alone.train, alone._sample_action = lambda **options: due.append(options), sample_then_update
    seed_everything(1, "training")
    alone.learn(70)
    train(**due.pop())
    pairs = zip(agent.algorithm.policy.parameters(), alone.policy.parameters(), strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)


def test_time_decides_nothing(monkeypatch):
    """Equal seeds give equal results, however long steps and updates take, and on any number of processes."""

    def trained(processes):
        agent = SMALL["dqn"][0](n_envs=3, env_processes=processes, overlap_rollout=True)
        results = run_here(small_setting("CartPole-v1", ContinualRLSetting, eval_every=24), agent)
        return {name: value for name, value in comparable(results).items() if name != "config"}, agent.state_dict()

    def slowed(function, seconds):
        def wrapped(*args, **options):
            time.sleep(seconds)
            return function(*args, **options)

        return wrapped

    first = trained(2)
    monkeypatch.setattr(EnvironmentProcesses, "receive", slowed(EnvironmentProcesses.receive, 0.002))
    second = trained(1)
    assert first[0] == second[0] and same(first[1], second[1])
    monkeypatch.setattr(DQN.algorithm_class(), "train", slowed(DQN.algorithm_class().train, 0.01))
    third = trained(2)
    assert first[0] == third[0] and same(first[1], third[1])


def test_evaluations_inside_a_phase_come_after_as_many_updates():
    seen = []

    class Noting(DQN):
        def predict(self, x, task_id):
            if hasattr(self, "loop"):  # inside a phase
                moments.add((self.phase.index, self.phase.budget.spent, self.algorithm._n_updates))
            return super().predict(x, task_id)

    for options in ({}, BESIDE):
        moments = set()
        run_here(
            small_setting("CartPole-v1", steps_per_task=40, eval_every=15),
            Noting(learning_starts=8, batch_size=4, train_freq=1, **options),
        )
        seen.append(sorted(moments))
    assert seen[0] == seen[1]
    assert [spent for _, spent, _ in seen[0]] == [0, 15, 30, 15, 30]


class TestRefused:
    def test_without_processes(self):
        with pytest.raises(
            InvalidOptionError,
            match=r"^--overlap_rollout true updates while other processes step the environments, but "
            r"--env_processes is 0; use --env_processes 1 or more, or leave it out\.$",
        ):
            DQN(overlap_rollout=True)

    @pytest.mark.parametrize(("make", "name"), [(A2C, "a2c"), (get_method("ppo+ewc"), r"ppo\+ewc")])
    def test_of_an_agent_that_learns_from_its_latest_policy(self, make, name):
        with pytest.raises(InvalidOptionError, match=rf"does not go with {name}, whose steps have to come from its"):
            make(overlap_rollout=True, env_processes=1)

    def test_noise_that_updates_draw_anew(self):
        with pytest.raises(InvalidOptionError, match="--use_sde draws noise anew in each update, which --overlap_roll"):
            SAC(use_sde=True, **BESIDE)

    def test_on_the_command_line(self, capsys):
        options = ["--setting", "incremental_rl", "--method", "ppo", "--env_processes", "1"]
        assert main([*options, "--overlap_rollout", "true"]) == 2
        assert "does not go with ppo, whose steps have to come from its latest policy; leave" in capsys.readouterr().err
