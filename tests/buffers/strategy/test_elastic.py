"""A worker under torchrun is killed; the run goes on by itself, with rows that were in shared memory all the time."""

from pathlib import Path

import pytest
import torch

from tests.buffers.strategy.elastic_runs import (
    kill_often,
    nothing_is_left,
    plain,
    step_of,
    weights_from,
    weights_in,
)
from tests.workers import GlooWorkers

KILLS, STEPS = 2, 60


@pytest.mark.slow
@pytest.mark.parametrize("world", [2, 4])
def test_killed_workers_go_on_as_from_the_checkpoint(gloo_workers: GlooWorkers, tmp_path: Path, world: int) -> None:
    with plain(tmp_path, world, STEPS) as run:
        restarts = kill_often(run, world, KILLS, longest_s=0.5, seed=world)
        assert run.wait() == 0, run.output
    assert "Rows are read from the checkpoint" not in run.output
    assert nothing_is_left(run)
    last = tmp_path / "checkpoints" / f"step={STEPS}.ckpt"
    reference = gloo_workers.run(world, weights_from, restarts[-1].path, tmp_path / "reference", STEPS)
    assert step_of(restarts[-1].path) < STEPS
    assert all(map(torch.equal, reference[0], weights_in(last)))


@pytest.mark.slow
def test_a_run_that_fails_for_good_leaves_nothing(tmp_path: Path) -> None:
    with plain(tmp_path, 2, 10_000, restarts=0) as run:
        run.wait_for(0, "step", 6)
        run.kill(0, 1)
        assert run.wait() != 0
    assert nothing_is_left(run)
