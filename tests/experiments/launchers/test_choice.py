"""Which launcher the options choose."""

import pytest

from redwood.engine.run import Run
from redwood.experiments.launchers.choice import LaunchOptions
from redwood.experiments.launchers.here import ThisProcess
from redwood.experiments.launchers.pool import Pool


def test_runs_take_place_in_a_pool_unless_one_at_a_time_is_asked_for(tmp_path):
    assert isinstance(LaunchOptions().make(Run(), tmp_path), Pool)
    assert isinstance(LaunchOptions(jobs=1).make(Run(), tmp_path), ThisProcess)
    assert isinstance(LaunchOptions("pool", jobs=1).make(Run(), tmp_path), Pool)
    assert isinstance(LaunchOptions("here", jobs=2).make(Run(), tmp_path), ThisProcess)


@pytest.mark.parametrize(("processes", "here"), [("1", False), ("2", True)])
def test_processes_of_torchrun_run_the_jobs_themselves(monkeypatch, processes, here):
    for name, value in {"TORCHELASTIC_RUN_ID": "7", "WORLD_SIZE": processes, "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    assert LaunchOptions("pool").here is here
