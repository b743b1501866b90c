"""What happens around training steps: progress, the loss in the logs, checkpoints inside a phase, no profiling."""

import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.profilers import PassThroughProfiler
from torch import Tensor

from redwood.core.errors import RedwoodError
from redwood.core.schema import ANYTHING, ListOf, MapOf, Number, Record, Text, check
from redwood.methods.training.step import Step
from redwood.runs.checkpoints import read_checkpoint, write_checkpoint
from redwood.runs.run import FROM_ITS_START, Run
from redwood.runs.signals import StopVote, stop

_COUNT, _STATE = Number(low=0, whole=True), MapOf(ANYTHING)
_WORKER = Record({"method": _STATE, "phase": _STATE, "random": _STATE, "seconds": Number(low=0)})
# What is read of a checkpoint; strategies and plugins may add to it.
_CONTENT = Record(
    {
        "epoch": _COUNT,
        "global_step": _COUNT,
        "pytorch-lightning_version": Text(),
        "state_dict": _STATE,
        "loops": _STATE,
        "callbacks": _STATE,
        "optimizer_states": ListOf(_STATE),
        "lr_schedulers": ListOf(_STATE),
        "redwood": ListOf(_WORKER, least=1),
    }
)


class SealedIO(TorchCheckpointIO):
    """Lightning's files of tensors and plain values; it would unpickle local files itself."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write the file atomically."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_checkpoint(checkpoint, Path(path))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read it onto the CPU; Lightning moves what belongs elsewhere.

        Raises:
            RedwoodError: If it is damaged, or no checkpoint inside a phase.
        """
        content = read_checkpoint(Path(path), FROM_ITS_START)
        known = {name: content.get(name) for name in _CONTENT.entries}
        check(known, _CONTENT, f"The checkpoint {path}", FROM_ITS_START)
        return content


LOG_EVERY = 50
REPORT_EVERY_S = 0.1


class TrainingLog(Callback):
    """Move the bar, log the loss every `LOG_EVERY` steps and at the end, and stop once it is no number any more."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._first_step = run.global_step
        self._reported = 0.0
        self._loss: Any = None
        self._logged = self._last_step = 0

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Find the last step: its loss is logged with the step, as a checkpoint of it leaves no step to train."""
        self._last_step = int(trainer.estimated_stepping_batches)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Report and log."""
        step, self._loss = trainer.global_step, outputs["loss"]
        if step % LOG_EVERY == 0 or step == self._last_step:
            self._log(step)
        now = time.perf_counter()
        if now - self._reported > REPORT_EVERY_S:
            self._run.reporter.step(step)
            self._reported = now

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Log the last loss of a phase that ends early."""
        if self._loss is not None and self._logged != trainer.global_step:
            self._log(trainer.global_step)

    def _log(self, step: int) -> None:
        loss = float(self._loss)
        if not torch.isfinite(torch.tensor(loss)):
            raise RedwoodError(f"Training diverged: the loss is {loss} after {step} steps; use a smaller --lr.")
        self._run.log({"loss": loss}, self._first_step + step)
        self._logged = step


class StepHooks(Protocol):
    """The hooks of a method around its training steps; see `LightningMethod`."""

    def on_train_start(self) -> None: ...

    def on_batch_start(self, batch_idx: int, n_batches: int) -> None: ...

    def after_backward(self, step: Step) -> None: ...

    def before_optimizer_step(self) -> None: ...

    def on_batch_end(self, step: Step, loss: Tensor, batch_idx: int) -> None: ...


class MethodHooks(Callback):
    """Call the hooks of a method from Lightning's, before a checkpoint is written."""

    def __init__(self, method: StepHooks) -> None:
        self._method = method
        self._step: Step | None = None  # Lightning hands no batch to the hook after the backward pass

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._method.on_train_start()

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._step = batch
        self._method.on_batch_start(batch_idx, trainer.num_training_batches)

    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        assert self._step is not None
        self._method.after_backward(self._step)

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self._method.before_optimizer_step()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._step = None
        self._method.on_batch_end(batch, outputs["loss"], batch_idx)


class CheckpointInsidePhase(ModelCheckpoint):
    """Lightning's checkpoint every so many steps, into the one file that a resumed run looks for."""

    def __init__(self, run: Run, phase: int) -> None:
        path = run.checkpoint_path(phase)
        assert path is not None
        super().__init__(
            dirpath=path.parent,
            filename=path.stem,
            every_n_train_steps=run.checkpoint_every,
            save_on_train_epoch_end=False,
            enable_version_counter=False,
        )
        self._run, self._path = run, path
        self._vote = StopVote()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Save every so many steps; and, if a signal asks for an end, save and end."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if self._vote.passed():
            if self._last_global_step_saved != trainer.global_step:
                self._save_checkpoint(trainer, str(self._path))
            if hasattr(trainer.strategy, "wait_for_checkpoints"):  # it saves in the background
                trainer.strategy.wait_for_checkpoints()
            stop()

    @property
    def state_key(self) -> str:
        """Lightning's names the interval, and warns when a resumed run has another one, which it may."""
        return type(self).__qualname__

    def _save_checkpoint(self, trainer: Any, filepath: str) -> None:
        # The logs first: whoever resumes drops the rows after the checkpoint, but cannot make up for missing ones.
        self._run.save_logs()
        super()._save_checkpoint(trainer, filepath)


class NoProfiler(PassThroughProfiler):
    """Measures nothing, for nothing.

    Lightning opens a context of its profiler around each of some thirty hooks a step. That of `PassThroughProfiler` is
    a generator, new each time: 2 % of the time of a small network's step.
    """

    _nothing = nullcontext()

    def profile(self, action_name: str) -> AbstractContextManager[None]:  # type: ignore[override]
        """The same empty context for every action."""
        return self._nothing
