"""What the launch options say of seeds side by side."""

import pytest

from redwood.experiments.launchers.choice import LaunchOptions


def test_seeds_are_joined_only_if_asked_for():
    assert not LaunchOptions().stacks
    assert LaunchOptions(stack_seeds=True).stacks
    assert LaunchOptions("here", stack_seeds=True).stacks


def test_jobs_of_slurm_are_single_runs():
    how = LaunchOptions("slurm", stack_seeds=True)
    assert not how.stacks
    assert how.why_no_stacks == "each job of --launcher slurm is a single run"


@pytest.mark.parametrize(("processes", "stacks"), [("1", True), ("2", False)])
def test_processes_that_run_all_jobs_together_take_single_runs(monkeypatch, processes, stacks):
    for name, value in {"TORCHELASTIC_RUN_ID": "7", "WORLD_SIZE": processes, "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    how = LaunchOptions(stack_seeds=True)
    assert how.stacks is stacks
    assert (how.why_no_stacks is None) is stacks
