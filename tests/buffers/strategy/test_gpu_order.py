"""A Trainer on a GPU does everything in order, and comes to what it comes to on the host."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor

from redwood.buffers.strategy import rehearsal
from redwood.buffers.strategy.rehearsal import RehearsalMixin
from tests.buffers.distributed import fake_gpu
from tests.buffers.distributed.fake_gpu import FakeGpu
from tests.buffers.distributed.gpu_lives import PLACES as KNOWN
from tests.buffers.strategy.gpu_runs import STEPS, TRAININGS, Lives, Plain, Run, beside, lived


@pytest.fixture(scope="module", autouse=True)
def _only_new_objects_are_collected() -> Iterator[None]:
    """Memory that is freed has to be noticed often; what the session made before need not be searched for it."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@cache
def on_host(training: str, world: int) -> list[Tensor]:
    """What a run comes to in host memory, wherever its rows lie and whenever they are exchanged."""
    with TemporaryDirectory() as folder:
        return lived(Run(training, "host", world), Path(folder, "runs"), None)


PLACES = [*KNOWN, ("auto", 1, False), ("auto", 2, True)]


@pytest.mark.filterwarnings("ignore:A checkpoint within an epoch")
@pytest.mark.parametrize("place", PLACES, ids=str)
@pytest.mark.parametrize("training", TRAININGS)
@pytest.mark.few(8)
def test_no_race(training: str, place: tuple[str, int, bool], tmp_path: Path) -> None:
    gpu = FakeGpu()
    for overlap in (True, False):
        run = Run(training, *place, overlap)
        seen = lived(run, tmp_path / str(overlap), gpu)
        assert not gpu.found, run
        wanted = on_host(training, run.world)
        assert len(seen) == len(wanted)
        assert all(map(torch.equal, seen, wanted)), run


@contextmanager
def waits_of_steps(gpu: FakeGpu) -> Iterator[list[list[str]]]:
    """Where the thread that trains waits for the GPU, from the arrival of each batch to its backward pass."""
    begin, backward = RehearsalMixin.batch_to_device, RehearsalMixin.backward
    found: list[list[str]] = []

    def beginning(self: Any, batch: Any, *args: Any, **options: Any) -> Any:
        gpu.waits.clear()
        if self._common_end is not None:  # Lightning calls it here if there is a process group
            self._trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor()
        return begin(self, batch, *args, **options)

    def ending(self: Any, *args: Any, **options: Any) -> Any:
        loss = backward(self, *args, **options)
        found.append(list(gpu.waits))
        gpu.waits.clear()  # there may be another backward pass
        return loss

    with mock.patch.multiple(RehearsalMixin, batch_to_device=beginning, backward=ending):
        yield found


@pytest.mark.parametrize("place", [KNOWN[0], KNOWN[4], *PLACES[-3:]], ids=str)
@pytest.mark.parametrize("training", TRAININGS)
@pytest.mark.few(8)
def test_no_step_waits_for_the_gpu(
    training: str, place: tuple[str, int, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches come from pinned memory, and indices are few; more than that waits if it is in pageable memory."""
    monkeypatch.setattr(fake_gpu, "UNPINNED", 64)
    run, gpu = Run(training, *place), FakeGpu()
    monkeypatch.setattr(rehearsal, "world_size", lambda: run.world)
    with beside(run, gpu), waits_of_steps(gpu) as waits:
        lives = Lives(run, gpu)
        lives.fit(lives.strategy())
    assert len(waits) >= 10
    # Rows of the tier `auto` go to the GPU once, in between two steps.
    assert sum(map(bool, waits)) == (run.tier == "auto"), waits


@pytest.mark.parametrize(("training", "step"), [("plain", 2), ("accumulated", 3)])
def test_rows_go_to_the_gpu_after_a_full_step(training: str, step: int) -> None:
    """The first step replays nothing, and the state of the optimizer is there once it has stepped."""
    run, gpu = Run(training, "auto"), FakeGpu()
    with beside(run, gpu), waits_of_steps(gpu) as waits:
        lives = Lives(run, gpu)
        lives.fit(lives.strategy())
    assert [bool(places) for places in waits].index(True) == step


def test_rows_make_room_for_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that does not fit is done again, and comes to what it would have come to."""
    monkeypatch.setattr(Plain, "failure", torch.OutOfMemoryError)
    run, gpu = Run(tier="auto"), FakeGpu()
    with beside(run, gpu):
        lives = Lives(run, gpu)
        strategy = lives.strategy()
        with pytest.warns(
            UserWarning, match="^Training ran out of memory on cuda:0: the .* bytes of stored rows move to"
        ):
            weights = list(lives.fit(strategy, fails_at=STEPS).parameters())
        assert strategy.memory.buffer.rows.tier == "host"
    assert not gpu.found
    with beside(run, None):
        lives = Lives(run, None)
        wanted = list(lives.fit(lives.strategy()).parameters())
    assert all(map(torch.equal, weights, wanted))


@pytest.mark.parametrize("run", [Run(tier="cuda"), Run("accumulated", "auto"), Run(tier="auto", world=2)], ids=str)
def test_no_room(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the user has chosen the GPU, or a step cannot be done again, the error stays."""
    monkeypatch.setattr(Plain, "failure", torch.OutOfMemoryError)
    gpu = FakeGpu()
    with beside(run, gpu), pytest.raises(torch.OutOfMemoryError):
        lives = Lives(run, gpu)
        lives.fit(lives.strategy(), fails_at=STEPS)
