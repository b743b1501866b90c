"""Several machines share one comparison; more of them, with more kills, in benchmarks/joined_machines.py."""

import pytest

from tests.cli.joined_machines import LEASE_S, join


@pytest.mark.slow
def test_machines_that_are_killed_and_frozen(tmp_path):
    arguments = ["--setting", "class_incremental", "--method", "finetune,rehearsal", "--nb_tasks", "2", "--seeds", "4"]
    arguments += ["--passes", "2", "--accelerator", "cpu", "--quiet", "--jobs", "1", "--checkpoint_every", "5"]
    found = join(tmp_path / "joined", arguments, runs=8, kills=2)
    assert (found.statuses, found.runs, found.kills, found.tables) == ([0, 0, 0], 8, 2, 1)
    assert found.differs == [] and not found.wrote_late
    assert found.frozen_s > LEASE_S
