"""A run that is killed inside a phase and resumed ends as if nothing had happened, bit for bit."""

import csv
import pickle
import shutil
from functools import partial

import pytest

from redwood.engine.folder import RunFolder
from redwood.methods.agents.off_policy import SAC
from redwood.methods.agents.on_policy import PPO
from redwood.methods.agents.sb3_loop import SB3Loop
from redwood.settings.rl.tree import TaskIncrementalRLSetting
from redwood.settings.scores.results import Results
from tests.methods.agents.parts import joined
from tests.methods.agents.runs import SMALL, same, small_setting
from tests.settings.rl.clock_environments import LargePicture, OtherPicture, Picture
from tests.small_runs import comparable, run_here

CASES = {name: (make, env, {}) for name, (make, env) in SMALL.items()} | {
    "ppo, environments": (partial(SMALL["ppo"][0], n_envs=3), "CartPole-v1", {}),
    "dqn, environments": (partial(SMALL["dqn"][0], n_envs=2, n_steps=3), "CartPole-v1", {}),
    "ppo, noise by state": (partial(PPO, n_steps=16, batch_size=8, use_sde=True), "Pendulum-v1", {}),
    "sac, noise by state": (partial(SAC, learning_starts=8, batch_size=4, use_sde=True), "Pendulum-v1", {}),
    "dqn, evaluated inside": (SMALL["dqn"][0], "CartPole-v1", {"eval_every": 15}),
    "a2c, choice of places": (SMALL["a2c"][0], "CliffWalking-v1", {"nb_tasks": 1}),
    "dqn+ewc+rehearsal": (partial(joined, "dqn+ewc+rehearsal", buffer_size=30), "CartPole-v1", {}),
    "ppo+l2": (partial(joined, "ppo+l2"), "CartPole-v1", {}),
    "ppo+packnet": (partial(joined, "ppo+packnet"), "CartPole-v1", {"cls": TaskIncrementalRLSetting}),
    "dqn+packnet": (partial(joined, "dqn+packnet"), "CartPole-v1", {"cls": TaskIncrementalRLSetting}),
    "dqn+perfect_memory": (partial(joined, "dqn+perfect_memory", buffer_size=16), "CartPole-v1", {}),
    "dqn+reset_buffer": (partial(joined, "dqn+reset_buffer"), "CartPole-v1", {}),
    "dqn+scratch": (partial(joined, "dqn+scratch"), "CartPole-v1", {}),
    "td3, noise": (partial(SMALL["td3"][0], action_noise="ou", n_envs=2), "Pendulum-v1", {}),
    "dqn, processes": (partial(SMALL["dqn"][0], n_envs=3, env_processes=2), "CartPole-v1", {}),
    "dqn, updates beside steps": (
        partial(SMALL["dqn"][0], n_envs=2, env_processes=1, overlap_rollout=True),
        "CartPole-v1",
        {"eval_every": 15},
    ),
    "sac, updates beside steps": (
        partial(SMALL["sac"][0], env_processes=1, overlap_rollout=True, gradient_steps=2),
        "Pendulum-v1",
        {},
    ),
    "dqn+packnet, updates beside steps": (
        partial(joined, "dqn+packnet", env_processes=1, overlap_rollout=True),
        "CartPole-v1",
        {"cls": TaskIncrementalRLSetting},
    ),
    "ppo, one-hot": (SMALL["ppo"][0], "CartPole-v1", {"cls": TaskIncrementalRLSetting}),
    "dqn, heads": (partial(SMALL["dqn"][0], task_input="heads"), "CartPole-v1", {"cls": TaskIncrementalRLSetting}),
    "ppo+ewc, heads": (
        partial(joined, "ppo+ewc", task_input="heads"),
        "Pendulum-v1",
        {"cls": TaskIncrementalRLSetting},
    ),
    "sac+cloning+best_return+reset_critic": (
        partial(joined, "sac+cloning+best_return+reset_critic", states_per_task=30, explore_steps=30),
        "Pendulum-v1",
        {"cls": TaskIncrementalRLSetting},
    ),
    "ppo, images": (SMALL["ppo"][0], [LargePicture], {"nb_tasks": None}),
    "dqn+cloning+best_return, images": (
        partial(joined, "dqn+cloning+best_return", states_per_task=30, explore_steps=30, n_envs=2),
        [Picture, OtherPicture],
        {"cls": TaskIncrementalRLSetting, "nb_tasks": None},
    ),
    "ppo+cloning": (partial(joined, "ppo+cloning"), "CartPole-v1", {}),
    "ppo+agem": (partial(joined, "ppo+agem"), "CartPole-v1", {}),
    "dqn+cloning, a task comes back": (
        partial(joined, "dqn+cloning", states_per_task=30),
        "CartPole-v1",
        {"nb_tasks": None, "tasks": ["default", "length=2", "default"]},
    ),
    "ppo+mas": (partial(joined, "ppo+mas", regularize_critic=True), "CartPole-v1", {}),
    "ppo+reset_critic": (partial(joined, "ppo+reset_critic"), "CartPole-v1", {}),
    "dqn+best_return": (
        partial(joined, "dqn+best_return", n_envs=2, explore_steps=40),
        "CartPole-v1",
        {"cls": TaskIncrementalRLSetting},
    ),
}
# The state of the others is of a kind that one of these has, too.
FAST = {"ppo", "dqn, environments", "dqn, evaluated inside", "sac", "dqn+ewc+rehearsal", "td3, noise", "dqn, heads"}
FAST |= {"sac+cloning+best_return+reset_critic", "dqn, updates beside steps", "ppo, images"}
SLOW = CASES.keys() - FAST - {"dqn, processes"}


@pytest.fixture(autouse=True)
def no_plots(monkeypatch):
    for name in ("plot_accuracy_matrix", "plot_accuracy_curve"):
        monkeypatch.setattr(f"redwood.engine.figures.plots.{name}", lambda results, path: None)


@pytest.mark.parametrize("case", [pytest.param(c, marks=[pytest.mark.slow] * (c in SLOW)) for c in CASES])
@pytest.mark.few(3)
def test_killed_inside_and_between_phases(case, tmp_path, monkeypatch):
    make, env, options = CASES[case]
    setting = small_setting(env, **{"steps_per_task": 50} | options)
    copies = []

    def copying(function):
        def wrapped(self, *args):
            function(self, *args)
            copies.append(tmp_path / f"copy_{len(copies)}")
            shutil.copytree(tmp_path / "run", copies[-1])

        return wrapped

    agent = make()
    with monkeypatch.context() as patch:
        patch.setattr("redwood.methods.agents.sb3_loop.BYTES_PER_STEP", 1 << 30)  # images are many bytes
        patch.setattr(SB3Loop, "_save", copying(SB3Loop._save))
        patch.setattr(RunFolder, "save", copying(RunFolder.save))
        results = run_here(setting, agent, run_dir=str(tmp_path / "run"), checkpoint_every=20)
    assert len(copies) >= 2 * setting.num_tasks + 1
    for copy in copies:
        resumed = make()
        assert comparable(run_here(setting, resumed, run_dir=str(copy), checkpoint_every=20, resume=True)) == (
            comparable(results)
        )
        assert same(resumed.state_dict(), agent.state_dict())
        assert rows(copy) == rows(tmp_path / "run")
        assert [path.name for path in (copy / "checkpoints").iterdir()] == ["boundary.pt"]
    assert comparable(Results.load(copies[0] / "results.json")) == comparable(results)


@pytest.mark.parametrize(("before", "after"), [(0, 2), (2, 0)])
def test_another_number_of_processes(before, after, tmp_path, monkeypatch):
    """`env_processes` may change when a run goes on, inside a phase, too."""
    setting = small_setting("CartPole-v1", steps_per_task=50)

    def make(processes):
        return SMALL["dqn"][0](n_envs=3, env_processes=processes)

    class Killed(Exception):
        pass

    def saving_once(self, save=SB3Loop._save):
        save(self)
        raise Killed

    whole = make(before)
    expected = run_here(setting, whole)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(SB3Loop, "_save", saving_once)
        run_here(setting, make(before), run_dir=str(tmp_path / "run"), checkpoint_every=20)
    assert [path.name for path in (tmp_path / "run" / "checkpoints").glob("inside*")]
    resumed = make(after)
    results = run_here(setting, resumed, run_dir=str(tmp_path / "run"), checkpoint_every=20, resume=True)
    assert without_config(results) == without_config(expected)
    assert same(resumed.state_dict(), whole.state_dict())


def without_config(results):
    return {name: value for name, value in comparable(results).items() if name != "config"}


def rows(folder):
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_can_be_sent_to_another_process():
    """As it is from the first of several workers, when the run is over."""
    agent = SMALL["dqn"][0]()
    setting = small_setting("CartPole-v1")
    run_here(setting, agent)
    received = pickle.loads(pickle.dumps(agent))
    assert same(received.state_dict(), agent.state_dict())
