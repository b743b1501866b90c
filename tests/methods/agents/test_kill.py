"""Runs of agents that are killed by SIGKILL and resumed: results, logs and state are those of a run never stopped."""

import contextlib
import signal
import time
from pathlib import Path

import pytest

from redwood.cli import main
from redwood.engine.checkpoints import read_checkpoint
from tests.cli.command import content, start_copy
from tests.cli.test_kill import comparable, logged, wait_for
from tests.methods.agents.runs import same

EVERY = "--accelerator cpu --nb_tasks 2 --test_episodes 2 --max_episode_steps 50 --checkpoint_every 40"
SMALL = "--policy_kwargs {net_arch:[16,16]}"
# Each algorithm with updates from early on, and with phases that last longer than it takes to notice a checkpoint.
ALGORITHMS = {
    "ppo": "--env CartPole-v1 --steps_per_task 512 --n_steps 32 --batch_size 16 --n_epochs 2",
    "a2c": "--env Pendulum-v1 --steps_per_task 512 --n_steps 16",
    "dqn": "--env CartPole-v1 --steps_per_task 1024 --learning_starts 20 --buffer_size 500 --batch_size 8",
    "sac": "--env Pendulum-v1 --steps_per_task 240 --learning_starts 20 --buffer_size 300 --batch_size 8",
    "td3": "--env Pendulum-v1 --steps_per_task 240 --learning_starts 20 --buffer_size 300 --batch_size 8",
}
IDS = "--setting task_incremental_rl"
NO_IDS = "--setting incremental_rl"
JOINT = "--setting multi_task_rl --n_envs 4 --task_shares equal"
STORED = "--states_per_task 200 --memory_batch_size 16"
QUICK = {
    "sac+cloning+best_return": f"{IDS} {STORED} --explore_steps 120",
    "ppo+ewc, critics and heads": f"{IDS} --task_input heads --regularize_critic --fisher_samples 100",
}
SLOW = {
    "ppo+ewc": f"{NO_IDS} --fisher_samples 100",
    "ppo+mas": f"{NO_IDS} --mas_samples 100",
    "ppo+mas, critics": f"{NO_IDS} --mas_samples 100 --regularize_critic",
    "ppo+l2": NO_IDS,
    "ppo+l2, critics": f"{IDS} --regularize_critic",
    "dqn+ewc, one-hot": f"{IDS} --task_input one_hot --fisher_samples 100",
    "dqn+mas, heads": f"{IDS} --task_input heads --mas_samples 100",
    "dqn+l2": NO_IDS,
    "sac+ewc": f"{NO_IDS} --fisher_samples 100",
    "sac+ewc, critics and heads": f"{IDS} --task_input heads --fisher_samples 100 --regularize_critic",
    "sac+mas, critics": f"{IDS} --mas_samples 100 --regularize_critic",
    "td3+l2, critics": f"{NO_IDS} --regularize_critic",
    "ppo+cloning, heads": f"{IDS} --task_input heads {STORED}",
    "dqn+cloning": f"{NO_IDS} {STORED}",
    "ppo+agem": f"{NO_IDS} {STORED}",
    "dqn+agem, heads": f"{IDS} --task_input heads {STORED}",
    "sac+agem": f"{NO_IDS} {STORED}",
    "ppo+reset_critic": NO_IDS,
    "sac+reset_critic, heads": f"{IDS} --task_input heads",
    "td3+reset_critic": NO_IDS,
    "dqn+best_return, environments": f"{IDS} --explore_steps 600 --n_envs 2",
    "td3+best_return, heads and noise": f"{IDS} --task_input heads --explore_steps 120 --action_noise ou",
    "dqn+cloning+best_return, heads": f"{IDS} --task_input heads {STORED} --explore_steps 300",
    "sac+cloning+best_return+reset_critic": f"{IDS} {STORED} --explore_steps 120",
    "ppo+packnet": IDS,
    "ppo+packnet, pruned": f"{IDS} --retrain_share 0.98",
    "dqn+packnet, heads": f"{IDS} --task_input heads",
    "sac+packnet, heads": f"{IDS} --task_input heads",
    "ppo, heads": f"{IDS} --task_input heads",
    "a2c+cloning, heads": f"{IDS} --task_input heads {STORED}",
    "dqn, one-hot": f"{IDS} --task_input one_hot",
    "sac, heads": f"{IDS} --task_input heads",
    "td3, normal noise": f"{NO_IDS} --action_noise normal --noise_std 0.2",
    "td3, ou noise and environments": f"{NO_IDS} --action_noise ou --n_envs 2",
    "ppo, equal shares": JOINT,
    "dqn, equal shares and heads": f"{JOINT} --task_input heads",
    "sac, equal shares": JOINT,
    "ppo, heads and processes": f"{IDS} --task_input heads --n_envs 2 --env_processes 2",
    "dqn+ewc, processes": f"{NO_IDS} --fisher_samples 100 --n_envs 2 --env_processes 2",
    "dqn, updates beside steps": f"{NO_IDS} --n_envs 2 --env_processes 2 --overlap_rollout true",
    "ppo+cloning, evaluated inside": f"{IDS} --eval_every 128 {STORED}",
    "sac+packnet, evaluated inside": f"{IDS} --eval_every 64",
    "dqn+best_return, evaluated inside": f"{IDS} --explore_steps 600 --eval_every 128",
    "dqn+perfect_memory": NO_IDS,
    "dqn+rehearsal, one-hot": f"{IDS} --buffer_sampler task_balanced",
    "sac+reset_buffer": NO_IDS,
}
CASES = QUICK | SLOW
# Where a run is killed: the phase, and how many checkpoints of it have been seen; 0 for between two phases.
PLACES = {"first phase": (0, 1), "later in it": (0, 4), "between phases": (0, 0), "later in the second": (1, 3)}


def options_of(case: str) -> list[str]:
    method = case.split(",")[0]
    name = method.split("+")[0]
    return f"--method {method} {EVERY} {SMALL} {ALGORITHMS[name]} {CASES[case]}".split()


def run_and_kill(options: list[str], folder: Path, phase: int, n_seen: int) -> None:
    """Start a run as a process of its own, or go on with it, and kill it when so many checkpoints have been seen."""
    where = ["resume" if folder.exists() else "--run_dir", str(folder)]
    process = start_copy(*([] if folder.exists() else options), *where, output=folder.with_suffix(".log"))
    inside = folder / "checkpoints" / f"inside-phase-{phase:03d}.ckpt"
    try:
        if not n_seen:
            wait_for(folder / "checkpoints" / "boundary.pt", process.is_alive)
        seen = set[int]()
        while len(seen) < n_seen:
            wait_for(inside, process.is_alive)
            with contextlib.suppress(FileNotFoundError):  # the phase has just ended
                seen.add(inside.stat().st_mtime_ns)
            time.sleep(0.002)
    finally:
        process.kill()
        process.join()
    assert process.exitcode == -signal.SIGKILL
    assert inside.exists() or not n_seen
    assert not (folder / "results.json").exists()


def check_resumed(options: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Go on with a killed run, and compare it with one that was never stopped."""
    capsys.readouterr()
    assert main(["resume", str(folder)]) == 0
    assert capsys.readouterr().err == ""
    whole = folder.with_name("whole")
    assert main([*options, "--run_dir", str(whole), "--quiet"]) == 0
    assert comparable(folder) == comparable(whole)
    assert logged(folder) == logged(whole)
    assert content(folder)["config.yaml"] == content(whole)["config.yaml"]
    left, expected = (read_checkpoint(run / "checkpoints" / "boundary.pt", "") for run in (folder, whole))
    assert same(left["method"], expected["method"])


@pytest.mark.parametrize("case", [*QUICK, *(pytest.param(case, marks=pytest.mark.slow) for case in SLOW)])
def test_kill_9_inside_a_phase(case, tmp_path, capsys):
    options = options_of(case)
    last = 0 if "multi_task_rl" in options else 1
    run_and_kill(options, tmp_path / "killed", phase=last, n_seen=1)
    check_resumed(options, tmp_path / "killed", capsys)


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("case", ["sac+cloning+best_return", "ppo+packnet"])
def test_kill_9_elsewhere(case, place, tmp_path, capsys):
    options = options_of(case)
    run_and_kill(options, tmp_path / "killed", *PLACES[place])
    check_resumed(options, tmp_path / "killed", capsys)


@pytest.mark.slow
def test_kill_9_again_and_again(tmp_path, capsys):
    """A run that goes on from a checkpoint first sees this one, and is killed when it has saved another."""
    options = options_of("dqn+cloning+best_return, heads")
    for phase, n_seen in ((0, 1), (0, 2), (1, 1), (1, 2)):
        run_and_kill(options, tmp_path / "killed", phase, n_seen)
    check_resumed(options, tmp_path / "killed", capsys)
