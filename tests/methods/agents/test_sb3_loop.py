"""The library's loop on the environments of a phase: what it learns from, and where it ends."""

from functools import partial

import pytest
import torch
from stable_baselines3.common.vec_env import DummyVecEnv

from redwood.core.errors import InvalidOptionError, RedwoodError
from redwood.core.seeding import derive_seed, seed_everything
from redwood.methods.agents.off_policy import DQN
from redwood.methods.agents.on_policy import A2C, PPO
from redwood.methods.agents.sb3_loop import BYTES_PER_STEP, SB3Loop
from redwood.settings.rl.tree import (
    ContinualRLSetting,
    IncrementalRLSetting,
    TaskAgnosticRLSetting,
    TraditionalRLSetting,
)
from tests.methods.agents.runs import SMALL, configured, same, small_setting
from tests.settings.rl.test_environment import Closed
from tests.small_runs import comparable, run_here

# Of 70 steps of the environments together: those taken, and how many updates they are good for.
BUDGETS = {
    "ppo": (PPO(n_steps=16, batch_size=8, n_epochs=2), 70, 4 * 2 * 2),
    "ppo, last rollout complete": (PPO(n_steps=14, batch_size=7, n_epochs=1), 70, 5 * 2),
    "ppo, environments": (PPO(n_steps=8, batch_size=8, n_epochs=1, n_envs=3), 69, 2 * 3),
    "a2c": (A2C(), 70, 14),
    "a2c, environments": (A2C(n_envs=4), 68, 3),
    "dqn": (DQN(learning_starts=10, batch_size=4), 70, 15),
    "dqn, environments": (DQN(learning_starts=10, batch_size=4, n_envs=3), 69, 5),
    "fewer steps than environments": (DQN(n_envs=80), 0, 0),
}


def trained(agent, **run_options):
    setting = small_setting("CartPole-v1")
    agent = configured(agent, setting, **run_options)
    phase = setting.open_stream().phase(0)
    agent.fit(phase)
    return agent, phase


@pytest.mark.parametrize("case", BUDGETS)
def test_budget_is_kept_to_the_step(case):
    agent, spent, updates = BUDGETS[case]
    agent, phase = trained(agent)
    assert phase.budget.spent == agent.run.global_step == spent
    assert agent.flops.state_dict()["steps"] == [updates]


def test_environments_that_cannot_be_saved_are_trained_without_checkpoints_inside(tmp_path, capsys):
    setting = small_setting(Closed, attributes=["gain"])
    results = setting.apply(A2C(), run_dir=str(tmp_path), accelerator="cpu", checkpoint_every=10)
    assert len(results.return_matrix) == 2
    lines = capsys.readouterr().out.splitlines()
    assert sum("goes on from the start of its phase" in line for line in lines) == 1
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["boundary.pt"]


def test_workers_save_at_the_same_steps(monkeypatch):
    """However much memory each of them has to write."""
    agent, phase = trained(DQN(learning_starts=10))
    monkeypatch.setattr("redwood.methods.agents.sb3_loop.gather_objects", lambda own: [own, 1000 * BYTES_PER_STEP])
    assert SB3Loop(agent, phase)._step_of_next_save() == phase.budget.spent + 1000


@pytest.mark.parametrize(("options", "rollout"), [({}, "2,048"), ({"n_steps": 24, "n_envs": 3}, "72")])
def test_a_budget_without_a_single_rollout_is_refused(options, rollout):
    with pytest.raises(InvalidOptionError, match=f"a rollout of {rollout} steps, but a phase has 70; use a smaller"):
        trained(PPO(**options))


@pytest.mark.parametrize("n_envs", [1, 3])
def test_all_steps_are_remembered(n_envs):
    agent, _ = trained(DQN(learning_starts=10, batch_size=4, n_envs=n_envs))
    assert agent.algorithm.replay_buffer.size() * n_envs == 70 // n_envs * n_envs


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.few(1)
def test_learns_as_the_library_alone(name):
    """The same steps, updates and random numbers: the weights are equal, bit for bit."""
    make, env = SMALL[name]
    setting = small_setting(env)
    agent = configured(make(), setting)
    seed_everything(1, "training")
    # Of the last rollout only two steps are within the budget.
    phases = [small_setting(env, steps_per_task=steps).open_stream().phase(0) for steps in (62, 1000)]
    agent.fit(phases[0])

    seed_everything(0, "weights")
    alone = agent.algorithm_class()("MlpPolicy", DummyVecEnv([lambda: phases[1].train]), device="cpu", **make.keywords)
    alone.action_space.seed(derive_seed(setting.seed, "exploration", 0, 0) % 2**31)
    seed_everything(1, "training")
    alone.learn({"ppo": 48, "a2c": 60, "dqn": 60}.get(name, 62))
    pairs = zip(agent.algorithm.policy.parameters(), alone.policy.parameters(), strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)


@pytest.mark.parametrize(
    ("make", "setting"),
    [
        (partial(PPO, n_steps=16, batch_size=8, n_epochs=2), IncrementalRLSetting),
        (partial(DQN, learning_starts=8, batch_size=4, buffer_size=48), ContinualRLSetting),
    ],
)
def test_processes_of_environments_change_nothing(make, setting):
    def trained_by(processes):
        agent = make(n_envs=3, env_processes=processes)
        results = run_here(small_setting("CartPole-v1", setting, eval_every=24), agent)
        return {name: value for name, value in comparable(results).items() if name != "config"}, agent.state_dict()

    here, there = trained_by(0), trained_by(2)
    assert here[0] == there[0]
    assert same(here[1], there[1])


def test_more_processes_than_environments_are_refused():
    with pytest.raises(InvalidOptionError, match="--env_processes 3 is more than --n_envs 2, but each process needs"):
        PPO(n_envs=2, env_processes=3)


@pytest.mark.parametrize("setting", [TaskAgnosticRLSetting, TraditionalRLSetting])
def test_one_phase_of_several_tasks(setting):
    agent = PPO(n_steps=16, batch_size=8, n_epochs=1)
    results = run_here(small_setting("CartPole-v1", setting), agent)
    assert results.num_phases == 1
    assert agent.run.global_step == 140


def test_parts_of_a_phase():
    """A subclass may divide the steps; each part is a call of the library's loop."""

    class Divided(A2C):
        def learn(self, phase, steps):
            super().learn(phase, 32)
            self.after_part = (phase.budget.spent, self.flops.state_dict()["steps"])
            super().learn(phase, phase.budget.left)

    agent, phase = trained(Divided())
    assert agent.after_part == (32, [6])
    assert phase.budget.spent == 70
    assert agent.flops.state_dict()["steps"] == [6 + 7]


def test_diverged_training_is_told():
    with pytest.raises(
        RedwoodError, match=r"Training diverged: train/loss is (nan|inf) after \d+ steps; use a smaller"
    ):
        trained(DQN(learning_rate=1e30, learning_starts=4, batch_size=4))


def test_losses_are_logged(tmp_path, monkeypatch):
    monkeypatch.setattr("redwood.engine.figures.plots.plot_accuracy_matrix", lambda results, path: None)
    agent = SMALL["ppo"][0]()
    run_here(small_setting("CartPole-v1"), agent, run_dir=str(tmp_path / "run"))
    names = (tmp_path / "run" / "metrics.csv").read_text().splitlines()[0].split(",")
    assert "train/loss" in names
    assert not any(name.startswith(("time/", "rollout/ep")) for name in names)


def test_large_memories_are_saved_less_often(tmp_path, monkeypatch):
    saved, save = [], SB3Loop._save

    def noting(self):
        save(self)
        saved.append(self._phase.budget.spent)

    monkeypatch.setattr(SB3Loop, "_save", noting)
    (tmp_path / "checkpoints").mkdir()
    for size in (0, 30 * BYTES_PER_STEP):
        monkeypatch.setattr(A2C, "costs", lambda self, size=size: {"buffer_bytes": size})
        trained(A2C(), run_dir=str(tmp_path), checkpoint_every=10)
    assert saved == [10, 20, 30, 40, 50, 60, 30, 60]


def test_progress_is_reported(monkeypatch):
    monkeypatch.setattr("redwood.methods.agents.sb3_callbacks.REPORT_EVERY", 30)
    setting = small_setting("CartPole-v1")
    agent = configured(A2C(), setting)
    steps = []
    monkeypatch.setattr(agent.run.reporter, "step", steps.append)
    agent.fit(setting.open_stream().phase(0))
    assert steps == [30, 60, 70]


def fit(agent, env):
    setting = small_setting(env)
    configured(agent, setting).fit(setting.open_stream().phase(0))


class TestDivergence:
    """Divergence is told, wherever it shows first."""

    @pytest.mark.filterwarnings("ignore::RuntimeWarning")
    @pytest.mark.parametrize(
        ("name", "env", "rate"),
        [
            ("ppo", "Pendulum-v1", 100.0),  # in the next forward pass of the same training
            ("a2c", "CartPole-v1", 1e30),  # in the next step
            ("sac", "Pendulum-v1", 100.0),  # in a distribution
            ("td3", "Pendulum-v1", 1e30),  # in an action that the environment refuses
        ],
    )
    def test_before_a_loss_is_reported(self, name, env, rate):
        with pytest.raises(
            RedwoodError,
            match=r"^Training diverged: \S+ is not finite after \d+ steps; use a smaller --learning_rate\.$",
        ):
            fit(SMALL[name][0](learning_rate=rate), env)

    def test_in_the_last_update(self):
        """Or else the episodes that score the agent would fail."""

        class Last(A2C):
            def after_step(self, optimizer):
                super().after_step(optimizer)
                if self.phase.budget.left == 0:
                    with torch.no_grad():
                        optimizer.param_groups[0]["params"][0].fill_(torch.nan)

        with pytest.raises(RedwoodError, match=r"^Training diverged: .* after 70 steps; use a smaller"):
            fit(Last(), "CartPole-v1")

    def test_other_errors_stay_what_they_are(self):
        class Failing(A2C):
            def after_step(self, optimizer):
                raise ValueError("of its own")

        with pytest.raises(ValueError, match=r"^of its own$"):
            fit(Failing(), "CartPole-v1")
