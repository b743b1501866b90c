"""Lightning's hooks for checkpoints, with the rehearsal buffer beside them."""

import inspect
import warnings
from typing import Any

from redwood.buffers.distributed.async_buffer import AsyncRehearsalBuffer
from redwood.buffers.strategy.checkpoints import BufferCheckpoints, local_path, new_token


class SavingMixin:
    """Saves and loads `memory` with the checkpoints of any Lightning strategy.

    A checkpoint appears only once it is complete, in place of an older one of its name.
    """

    memory: AsyncRehearsalBuffer
    _checkpoints: BufferCheckpoints
    _trainer: Any

    def write_rest(self) -> None:
        """Hand in the samples of this step, if that has not been done yet."""
        raise NotImplementedError

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        """Save a checkpoint with the buffer; it appears once it is complete.

        What the Trainer's checkpoint callbacks save is written while training goes on, see `wait_for_checkpoints`. Who
        calls `Trainer.save_checkpoint` by hand finds the file there when it returns.
        """
        save = super().save_checkpoint  # type: ignore[misc]
        if "optimizer_states" not in checkpoint or not hasattr(self.memory, "buffer"):  # weights alone, or no training
            self._checkpoints.wait()  # it may be of the same name
            save(checkpoint, filepath, storage_options)
            return
        path = local_path(filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        token = self.broadcast(new_token())  # type: ignore[attr-defined]
        self.write_rest()
        self._checkpoints.save(checkpoint, path, token, lambda place: save(checkpoint, place, storage_options))
        if self.memory.peers is None:  # training is over: there is nothing to hide behind
            self._checkpoints.wait()
            self._checkpoints.close()
        elif not self._is_callback_saving():
            self._checkpoints.wait()

    def wait_for_checkpoints(self) -> None:
        """Wait until what callbacks have saved so far is complete.

        Raises:
            WorkerLostError: If another worker was lost meanwhile.
        """
        self._checkpoints.wait()

    def _is_callback_saving(self) -> bool:
        """Whether one of the Trainer's checkpoint callbacks has called for the checkpoint that is being saved."""
        callbacks, frame = self._trainer.checkpoint_callbacks, inspect.currentframe()
        while frame is not None:
            caller = frame.f_locals.get("self") if "self" in frame.f_code.co_varnames else None
            if any(caller is callback for callback in callbacks):
                return True
            frame = frame.f_back
        return False

    def load_checkpoint(self, checkpoint_path: Any, **kwargs: Any) -> dict[str, Any]:
        """Load a checkpoint, and go on with its buffer, draw in flight included, if training is to go on."""
        self._checkpoints.wait()
        checkpoint: dict[str, Any] = super().load_checkpoint(checkpoint_path, **kwargs)  # type: ignore[misc]
        fitting = self._trainer.state.fn == "fit"
        if fitting and not self._checkpoints.load(checkpoint, local_path(checkpoint_path)):
            warnings.warn(f"The checkpoint {checkpoint_path} holds no rehearsal buffer; it starts empty.", stacklevel=2)
        return checkpoint

    def remove_checkpoint(self, filepath: Any) -> None:
        """Remove a checkpoint and its buffer, once the one that takes its place is complete."""
        remove = super().remove_checkpoint  # type: ignore[misc]
        if self.is_global_zero:  # type: ignore[attr-defined]
            self._checkpoints.remove(local_path(filepath), lambda: remove(filepath))
