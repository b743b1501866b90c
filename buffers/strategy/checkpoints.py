"""The buffer beside the checkpoints of Lightning."""

import contextlib
import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from glob import escape
from pathlib import Path
from typing import cast
from uuid import uuid4

import torch.distributed as dist
from torch.distributed import ProcessGroup

from redwood.buffers.distributed.async_buffer import SHARED, AsyncRehearsalBuffer
from redwood.buffers.distributed.changed_rows import SavedRows, link_unchanged
from redwood.buffers.distributed.checkpoint import (
    is_complete,
    mark_of,
    read_checkpoint,
    take_snapshot,
    write_checkpoint,
)
from redwood.buffers.distributed.peers import lost_workers
from redwood.buffers.distributed.row_dealing import all_or_none
from redwood.buffers.distributed.worker_thread import Job, WorkerThread
from redwood.core.errors import BufferInputError
from redwood.core.state import State
from redwood.core.torchrun import meeting
from redwood.core.user_warnings import warn
from redwood.core.workers import SAVING_TIMEOUT, gather_objects

# The entry of a checkpoint that names the folder of its buffer.
ENTRY = "async_rehearsal"
# The entry with the states of the loaders of each process; Lightning keeps those of the first one alone.
LOADERS = "async_rehearsal_loaders"
# What a folder's name ends with while another one takes its place.
_BEFORE = ".before.pending"


class BufferCheckpoints:
    """Saves the buffer of all workers in the folder `<checkpoint>.rehearsal`, while training goes on.

    Each save writes a new folder, which the checkpoint names. The checkpoint appears once that folder is complete, in
    place of an older one of its name. If a save is interrupted, the checkpoint before is still whole.

    Attributes:
        is_of_first_replica: Whether this worker's rows are saved; other replicas of a module store the same ones.
    """

    def __init__(self, memory: AsyncRehearsalBuffer, timeout: timedelta | None = None) -> None:
        """Save and load the buffer of a strategy.

        Args:
            memory: The buffer.
            timeout: How long to wait for other workers, but at least half an hour: one of them writes the weights, or
                reads rows that the others find in memory. Default: as torch does.
        """
        self._memory = memory
        memory.is_marked = True
        self._timeout = None if timeout is None else max(timeout, SAVING_TIMEOUT)
        self.is_of_first_replica = True
        self._group: ProcessGroup | None = None
        self._worker_thread: WorkerThread | None = None
        self._job: Job[None] | None = None
        self._saved: SavedRows | None = None  # of the latest complete checkpoint of this worker

    def join(self) -> None:
        """Make a process group for saving; every worker has to call this, from the thread that trains."""
        if self._worker_thread is None:
            self._worker_thread = WorkerThread(threaded=True)
        if self._group is None and dist.is_initialized() and dist.get_world_size() > 1:
            with meeting():
                self._group = cast(ProcessGroup, dist.new_group(timeout=self._timeout, backend="gloo"))

    def save(self, checkpoint: State, path: Path, token: str, write: Callable[[Path], None]) -> None:
        """Copy what has changed in the buffer, and save it in another thread; every worker has to call this.

        Args:
            checkpoint: Lightning's checkpoint; gets the entry that names the folder of the buffer.
            path: Path of the checkpoint.
            token: Name of a new folder, equal on all workers.
            write: Writes the checkpoint on the first worker, and does nothing on the others.
        """
        self.wait()
        self.join()
        self._memory.flush()
        memory, first = self._memory, self._group is None or dist.get_rank() == 0
        memory.buffer.mark(token)
        checkpoint[ENTRY] = {"folder": token, "workers": memory.world}
        with lost_workers():
            checkpoint[LOADERS] = gather_objects(_fit_loop_of(checkpoint).get(_STATES, []), self._group)
        folder = folder_of(path) / token
        # Only a checkpoint that becomes complete is one that the next one may refer to.
        saved, self._saved = self._saved, None
        snapshot = None
        if self.is_of_first_replica:
            changed = link_unchanged(memory.buffer, saved, folder)
            snapshot = take_snapshot(memory.buffer, memory.extra_state(), changed)
        if first:  # files of a killed process
            put_back(path)
            for stale in path.parent.glob(f"{escape(path.name)}.*.pending"):
                _remove(stale)
        pending = path.with_name(f"{path.name}.{token}.pending")
        # All wait here for the worker that writes, and not in the exchange of the next step, which is less patient.
        all_or_none(lambda: write(pending), self._group)

        def finish() -> None:
            try:
                written = write_checkpoint(snapshot, folder, memory.rank, memory.world, self._group)
            except BaseException:
                if first:
                    _remove(pending)
                raise
            try:
                if first:
                    _replace(pending, path)
                    _remove_others(folder)
            finally:
                with lost_workers():  # the checkpoint is to be found by all workers once they have waited
                    gather_objects(None, self._group)
            self._saved = written

        assert self._worker_thread is not None
        self._job = self._worker_thread.submit(finish)

    def wait(self) -> None:
        """Wait until the latest checkpoint is complete.

        Raises:
            WorkerLostError: If another worker was lost meanwhile.
        """
        job, self._job = self._job, None
        if job is not None:
            with lost_workers():
                job.result()

    def wait_after_error(self, *, others_are_there: bool = False) -> None:
        """Like `wait`, after training has failed: other workers may be lost by then, and are not waited for."""
        if self._group is None or others_are_there:
            try:
                self.wait()
            except Exception as error:  # must not hide the error of training
                warn(f"The latest checkpoint is not complete: {error}")

    def load(self, checkpoint: State, path: Path) -> bool:
        """Restore the buffer of a checkpoint, if it has one; every worker has to call this.

        Raises:
            ValueError: If the folder of the buffer is missing or damaged, or the workers load different checkpoints.
        """
        self.join()
        with lost_workers():
            entries = gather_objects(checkpoint.get(ENTRY), self._group)
        if any(entry != entries[0] for entry in entries):
            raise BufferInputError(
                f"The workers load different checkpoints ({path} on this one); put them into a folder that all "
                "machines share, and give all workers the same path."
            )
        if ENTRY not in checkpoint:
            return False
        # A link to the last checkpoint has no folder of its own.
        folder = folder_of(path.resolve()) / _token_of(checkpoint[ENTRY], path)
        if not folder.is_dir():
            raise BufferInputError(f"The buffer of the checkpoint {path} is missing; put its folder {folder} back.")
        memory = self._memory
        assert memory.peers is not None  # a strategy opens the buffer before it loads a checkpoint
        rank, world, saved_by = memory.peers.rank, memory.peers.world, checkpoint[ENTRY].get("workers", 0)
        if memory.tier == SHARED and saved_by != world and rank == 0:
            warn(f"The rows of {saved_by} workers are distributed to {world}; all are read from the checkpoint {path}.")
        memory.reset()
        every = self._group is not None and world == dist.get_world_size()
        group = self._group if every else memory.peers.group
        # Some read rows that others find in memory: all wait here, and not in the next exchange, which is less patient.
        extra = all_or_none(lambda: read_checkpoint(folder, memory.buffer, rank, world, group), self._group)
        self._give_loaders_their_states(checkpoint)
        memory.buffer.mark(mark_of(folder))
        memory.restore(extra)
        return True

    def _give_loaders_their_states(self, checkpoint: State) -> None:
        """Have Lightning restore the loaders of this process, if there are as many processes as before."""
        states = checkpoint.get(LOADERS, [])
        number, n = (0, 1) if self._group is None else (dist.get_rank(), dist.get_world_size())
        if len(states) == n and states[number]:
            _fit_loop_of(checkpoint)[_STATES] = states[number]

    def remove(self, path: Path, remove: Callable[[], None]) -> None:
        """Remove a checkpoint, by `remove`, and its folder, once the latest save is complete.

        If the latest save fails, the older checkpoint stays.
        """
        latest = self._job

        def work() -> None:
            if latest is not None:
                latest.result()
            remove()
            shutil.rmtree(folder_of(path), ignore_errors=True)

        if latest is None:
            work()
        else:
            assert self._worker_thread is not None
            self._job = self._worker_thread.submit(work)

    def close(self) -> None:
        """Destroy the group for saving; every worker has to call this. `save` makes another one."""
        if self._job is not None:  # after an error, without waiting for other workers
            return
        if self._worker_thread is not None:
            self._worker_thread.close()
        if self._group is not None and dist.is_initialized():
            dist.destroy_process_group(self._group)
        self._worker_thread = self._group = self._saved = None


# Where Lightning keeps the states of loaders.
_STATES = "combined_loader"


def _fit_loop_of(checkpoint: State) -> State:
    """The state of the loop of batches in a checkpoint of Lightning."""
    state: State = checkpoint.get("loops", {}).get("fit_loop", {}).get("state_dict", {})
    return state


def new_token() -> str:
    """A name that no other save has."""
    # Letters only: under SLURM, Lightning takes all digits after `hpc_ckpt_` in any file name for a version.
    return uuid4().hex[:12].translate(str.maketrans("0123456789", "ghijklmnop"))


def _token_of(entry: object, path: Path) -> str:
    """The token of a saved checkpoint; nothing else is accepted as the name of a folder.

    Raises:
        ValueError: If the entry holds no token.
    """
    token = entry.get("folder") if isinstance(entry, dict) else None
    if not isinstance(token, str) or not token.isalnum():
        raise BufferInputError(
            f"The checkpoint {path} does not name the folder of its buffer; resume from another one."
        )
    return token


def local_path(path: str | Path) -> Path:
    """A path on a file system that all workers share.

    Raises:
        ValueError: If it is the address of an object store.
    """
    if "://" in str(path):
        raise BufferInputError(f"A buffer is saved to a shared file system, got {path}; choose a folder there.")
    return Path(path)


def last_checkpoint(folder: str | Path) -> Path | None:
    """The newest complete checkpoint with a buffer among the files `*.ckpt` of a folder; None without one."""
    for before in Path(folder).glob(f"*.ckpt{_BEFORE}"):
        put_back(before.with_name(before.name.removesuffix(_BEFORE)))
    candidates = [
        (path.stat().st_mtime_ns, path.name, path)
        for path in Path(folder).glob("*.ckpt")
        if any(is_complete(buffers) for buffers in folder_of(path.resolve()).glob("*"))
    ]
    return max(candidates)[2] if candidates else None


def folder_of(path: Path) -> Path:
    """The folder of the buffers of a checkpoint."""
    return path.with_name(f"{path.name}.rehearsal")


def _remove(path: Path) -> None:
    """Remove a checkpoint, which is a file or, where weights are sharded, a folder."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def put_back(path: Path) -> None:
    """Put the checkpoint before in its place again, if a stop came before the new one was there; see `_replace`."""
    if not path.exists():
        with contextlib.suppress(FileNotFoundError):  # there is none, or another worker has put it back
            os.replace(path.with_name(path.name + _BEFORE), path)


def _replace(pending: Path, path: Path) -> None:
    """Put a checkpoint in the place of the one before."""
    if not path.is_dir():
        os.replace(pending, path)
        return
    before = path.with_name(path.name + _BEFORE)  # a folder can only take the place of an empty one
    os.replace(path, before)
    os.replace(pending, path)
    _remove(before)


def _remove_others(folder: Path) -> None:
    for other in folder.parent.iterdir():
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)
