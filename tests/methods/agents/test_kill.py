"""Runs of agents that are killed by SIGKILL inside a phase, and resumed."""

import signal

import pytest

from redwood.cli import main
from tests.cli.command import start_copy
from tests.cli.test_kill import comparable, logged, wait_for

SMALL = "--accelerator cpu --nb_tasks 2 --test_episodes 1 --max_episode_steps 50 --checkpoint_every 40"
AGENTS = {
    "heads, processes": "--method ppo --task_input heads --n_steps 32 --batch_size 32 --n_envs 2 --env_processes 2",
    "one-hot": "--method dqn+ewc --task_input one_hot --learning_starts 20 --buffer_size 500 --batch_size 8",
    "updates beside steps": "--method dqn --learning_starts 20 --buffer_size 500 --batch_size 8 --n_envs 2 "
    "--env_processes 2 --overlap_rollout true",
}


@pytest.mark.slow
@pytest.mark.parametrize("case", AGENTS)
def test_kill_9_inside_a_phase(case, tmp_path, capsys):
    options = ["--setting", "task_incremental_rl", *AGENTS[case].split(), *SMALL.split(), "--steps_per_task", "4096"]
    folder = tmp_path / "killed"
    process = start_copy(*options, "--run_dir", str(folder), output=tmp_path / "log.txt")
    wait_for(folder / "checkpoints" / "inside-phase-001.ckpt", process.is_alive)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (folder / "results.json").exists()
    assert main(["--resume", str(folder)]) == 0
    assert capsys.readouterr().err == ""
    whole = tmp_path / "whole"
    assert main([*options, "--run_dir", str(whole), "--quiet"]) == 0
    assert comparable(folder) == comparable(whole)
    assert logged(folder) == logged(whole)
