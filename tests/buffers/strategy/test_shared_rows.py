"""Workers whose rows are still in shared memory go on beside others that read theirs from disk."""

import gc
import os
import warnings
from pathlib import Path
from unittest import mock

import pytest

from redwood.buffers.shared.keeper import start_of
from redwood.buffers.shared.rows import SharedRows
from tests.buffers.shared.helpers import QuietOwner
from tests.buffers.strategy.plain_modules import rank
from tests.buffers.strategy.save_callbacks import SavedRun, goes_on, resumed, saved
from tests.workers import TwoWorkers

SIZES = [[4, 4, 4, 4, 2], [4, 4, 4, 4, 3]]
ENDS = "on_train_batch_end"


def rows_of_this_process(directory: str) -> SharedRows:
    """Files that belong to the process of a worker, as torchrun's do to that of torchrun."""
    return SharedRows(QuietOwner(os.getpid(), str(start_of(os.getpid()))), rank(), 2, directory)


def run(path: Path, folder: Path, lost: list[int] | None) -> tuple[SavedRun, list[str]]:
    """Save after seven steps and train on; or go back there, where some workers have lost their rows; with warnings."""
    options = {"tier": "shared", "directory": str(folder)}
    gc.collect()  # the strategy of the run before
    with (
        mock.patch.object(SharedRows, "of_this_worker", rows_of_this_process),
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always")
        if lost is None:
            done = saved({7: path}, SIZES, ENDS, options)
        else:
            for file in folder.glob(f"*-{os.getpid()}-*.rows") if rank() in lost else ():
                file.unlink()
            done = resumed(path, SIZES, options, {})
    return done, [str(warning.message) for warning in caught if "in memory" in str(warning.message)]


@pytest.mark.slow
def test_some_rows_are_recovered_and_others_read(two_workers: TwoWorkers, tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    whole = two_workers.run(run, path, tmp_path, None)
    for lost in ([1], [0], []):
        rest = two_workers.run(run, path, tmp_path, lost)
        told = [worker for worker, (_, messages) in enumerate(rest) if messages]
        assert told == lost
        assert all(goes_on(*runs, 7) for runs in zip([w for w, _ in whole], [r for r, _ in rest], strict=True))
