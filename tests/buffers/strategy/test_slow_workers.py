"""A worker that saves or loads for longer than `timeout` is waited for, and workers load the same checkpoint."""

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from lightning_fabric.plugins import TorchCheckpointIO

from redwood.buffers.strategy import checkpoints
from tests.buffers.strategy.plain_modules import Resumable, Stranger, rank, strategy_of, trainer_of
from tests.buffers.strategy.save_callbacks import SaveAsCallback, batches_of
from tests.workers import TwoWorkers

SIZES = [[4, 4, 4, 4], [4, 4, 4, 4]]
TIMEOUT, SLOW_S = timedelta(seconds=1), 2.5


class SlowIO(TorchCheckpointIO):
    """A slow disk, or one that is full."""

    def __init__(self, error: type[Exception] | None = None) -> None:
        self._error = error

    def save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """Take longer than the workers wait for each other in an exchange."""
        time.sleep(SLOW_S)
        if self._error is not None:
            raise self._error("no space left")
        super().save_checkpoint(*args, **kwargs)


def trained(path: Path, resume: Path | None = None, io: SlowIO | None = None) -> int:
    """Save after the second step, or resume; returns the number of steps that this worker has taken."""
    module = Stranger()
    trainer = trainer_of(
        strategy_of(timeout=TIMEOUT),
        callbacks=[] if resume else [SaveAsCallback({2: path})],
        enable_checkpointing=resume is None,
        plugins=[] if io is None else [io],
    )
    trainer.fit(module, Resumable(batches_of(SIZES)), ckpt_path=resume)
    return len(module.trained)


def saved_slowly(path: Path) -> int:
    return trained(path, io=SlowIO())


def failing_save(path: Path) -> str:
    with pytest.raises(Exception, match="no space left") as caught:
        trained(path, io=SlowIO(OSError))
    return type(caught.value).__name__


def loaded_slowly(path: Path) -> int:
    real: Callable[..., Any] = checkpoints.read_checkpoint

    def slow(*args: Any) -> Any:
        if rank() == 1:
            time.sleep(SLOW_S)
        return real(*args)

    checkpoints.read_checkpoint = slow
    try:
        return trained(path, path)
    finally:
        checkpoints.read_checkpoint = real


def loaded_apart(paths: list[Path]) -> str:
    with pytest.raises(ValueError, match="The workers load different checkpoints") as caught:
        trained(paths[0], paths[rank()])
    return str(caught.value)


@pytest.mark.slow
def test_slow_saves_and_loads_end_no_run(two_workers: TwoWorkers, tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    assert two_workers.run(saved_slowly, path) == [4, 4]
    assert two_workers.run(loaded_slowly, path) == [2, 2]


def test_all_workers_learn_of_a_save_that_fails(two_workers: TwoWorkers, tmp_path: Path) -> None:
    assert two_workers.run(failing_save, tmp_path / "a.ckpt") == ["OSError", "BufferInputError"]


def test_different_checkpoints_are_refused(two_workers: TwoWorkers, tmp_path: Path) -> None:
    paths = [tmp_path / "a.ckpt", tmp_path / "b.ckpt"]
    for path in paths:
        two_workers.run(trained, path)
    messages = two_workers.run(loaded_apart, paths)
    assert [message.split(" on this one")[0].rpartition("/")[2] for message in messages] == ["a.ckpt", "b.ckpt"]
