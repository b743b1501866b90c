"""A Trainer on a GPU does everything in order, and comes to what it comes to on the host."""

from pathlib import Path

import pytest
import torch

from tests.buffers.distributed.fake_gpu import FakeGpu
from tests.buffers.distributed.gpu_lives import PLACES
from tests.buffers.strategy.gpu_runs import TRAININGS, Run, lived


@pytest.mark.filterwarnings("ignore:A checkpoint within an epoch")
@pytest.mark.parametrize("place", PLACES, ids=str)
@pytest.mark.parametrize("training", TRAININGS)
@pytest.mark.few(8)
def test_no_race(training: str, place: tuple[str, int, bool], tmp_path: Path) -> None:
    gpu = FakeGpu()
    for overlap in (True, False):
        run = Run(training, *place, overlap)
        seen = lived(run, tmp_path / f"gpu {overlap}", gpu)
        assert not gpu.found, run
        wanted = lived(run, tmp_path / f"host {overlap}", None)
        assert len(seen) == len(wanted)
        assert all(map(torch.equal, seen, wanted)), run
