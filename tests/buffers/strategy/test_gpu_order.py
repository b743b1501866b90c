"""A Trainer on a GPU does everything in order, and comes to what it comes to on the host."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

from redwood.buffers.strategy.rehearsal import RehearsalMixin
from tests.buffers.distributed import fake_gpu
from tests.buffers.distributed.fake_gpu import FakeGpu
from tests.buffers.distributed.gpu_lives import PLACES
from tests.buffers.strategy.gpu_runs import TRAININGS, Lives, Run, beside, lived


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


@contextmanager
def waits_of_steps(gpu: FakeGpu) -> Iterator[list[list[str]]]:
    """Where the thread that trains waits for the GPU, from the arrival of each batch to its backward pass."""
    begin, backward = RehearsalMixin.batch_to_device, RehearsalMixin.backward
    found: list[list[str]] = []

    def beginning(self: Any, batch: Any, *args: Any, **options: Any) -> Any:
        gpu.waits.clear()
        return begin(self, batch, *args, **options)

    def ending(self: Any, *args: Any, **options: Any) -> Any:
        loss = backward(self, *args, **options)
        found.append(list(gpu.waits))
        return loss

    with mock.patch.multiple(RehearsalMixin, batch_to_device=beginning, backward=ending):
        yield found


@pytest.mark.parametrize("place", PLACES, ids=str)
@pytest.mark.parametrize("training", TRAININGS)
@pytest.mark.few(8)
def test_no_step_waits_for_the_gpu(
    training: str, place: tuple[str, int, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches come from pinned memory, and indices are few; more than that waits if it is in pageable memory."""
    monkeypatch.setattr(fake_gpu, "UNPINNED", 64)
    run, gpu = Run(training, *place), FakeGpu()
    with beside(run, gpu), waits_of_steps(gpu) as waits:
        lives = Lives(run, gpu)
        lives.fit(lives.strategy())
    assert len(waits) >= 10
    assert not any(waits), waits
