"""Checkpoints of a strategy, with the buffer beside them."""

from pathlib import Path

from pytorch_lightning import Trainer
from pytorch_lightning.strategies import Strategy
from typing_extensions import override

from redwood.buffers.distributed.async_buffer import AsyncRehearsalBuffer
from redwood.buffers.strategy.checkpoints import BufferCheckpoints, last_checkpoint, local_path, new_token, put_back
from redwood.buffers.strategy.hooks import is_called_by
from redwood.core.state import State
from redwood.core.user_warnings import warn


class BufferSaving(Strategy):
    """Saves, loads and removes the buffer along with the checkpoints of a strategy."""

    memory: AsyncRehearsalBuffer
    _checkpoints: BufferCheckpoints

    @property
    def _trainer(self) -> Trainer:
        raise NotImplementedError

    def write_rest(self) -> None:
        """Write the samples of this step, if that has not been done yet."""
        raise NotImplementedError

    def check_loaders(self) -> None:
        """Warn if a run that goes on from here would be trained on other batches than this one."""
        raise NotImplementedError

    @override
    def save_checkpoint(self, checkpoint: State, filepath: str | Path, storage_options: object = None) -> None:
        """Save a checkpoint with the buffer; it appears once it is complete, in place of an older one of its name.

        Checkpoints of callbacks are written while training goes on; `Trainer.save_checkpoint` returns once it is there.
        """
        save = super().save_checkpoint
        if "optimizer_states" not in checkpoint or not hasattr(self.memory, "buffer"):  # weights alone, or no training
            self.write_rest()
            # An exchange that has failed raises here: under NCCL the weights may come of gradients that were aborted.
            self.memory.flush()
            self._checkpoints.wait()  # it may be of the same name
            save(checkpoint, filepath, storage_options)
            return
        path = local_path(filepath)
        self.check_loaders()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._checkpoints.wait()  # no worker may make files of this checkpoint while the first one removes others
        token = self.broadcast(new_token())
        self.write_rest()
        self._checkpoints.save(checkpoint, path, token, lambda place: save(checkpoint, place, storage_options))
        if self.memory.peers is None:  # training is over: there is nothing to hide behind
            self._checkpoints.wait()
            self._checkpoints.close()
        elif not is_called_by(self._trainer.checkpoint_callbacks):
            self._checkpoints.wait()

    @staticmethod
    def last_checkpoint(folder: str | Path) -> Path | None:
        """The newest complete checkpoint in a folder, to be given to `Trainer.fit` as `ckpt_path`; None without one.

        A script under torchrun that calls `fit` with it goes on by itself after each restart.
        """
        return last_checkpoint(folder)

    def wait_for_checkpoints(self) -> None:
        """Wait until all checkpoints that callbacks have saved so far are complete.

        Raises:
            WorkerLostError: If another worker was lost meanwhile.
        """
        self._checkpoints.wait()

    @override
    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> State:
        self._checkpoints.wait()
        put_back(Path(checkpoint_path))
        checkpoint: State = super().load_checkpoint(checkpoint_path, weights_only)
        fitting = self._trainer.state.fn == "fit"
        if fitting and not self._checkpoints.load(checkpoint, local_path(checkpoint_path)):
            warn(f"The checkpoint {checkpoint_path} holds no rehearsal buffer; it starts empty.")
        return checkpoint

    @override
    def remove_checkpoint(self, filepath: str | Path) -> None:
        remove = super().remove_checkpoint
        if self.is_global_zero:
            self._checkpoints.remove(local_path(filepath), lambda: remove(filepath))
