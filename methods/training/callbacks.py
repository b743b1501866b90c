"""What happens around training steps: FLOPs, progress, the loss in the logs, hooks, checkpoints inside a phase."""

import time
from collections.abc import Mapping

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.utilities.types import STEP_OUTPUT
from torch import Tensor, nn
from torch.optim import Optimizer
from typing_extensions import override

from redwood.core.errors import RedwoodError
from redwood.methods.training.flops import FlopMeter
from redwood.methods.training.step import Step, StepMethod
from redwood.runs.run import Run
from redwood.runs.signals import stop
from redwood.runs.stop_vote import StopVote

LOG_EVERY = 50
REPORT_EVERY_S = 0.1


class TrainingLog(Callback):
    """Move the bar, log the loss every `LOG_EVERY` steps and at the end, and stop once it is no number any more."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._first_step = run.global_step
        self._reported = 0.0
        self._loss: Tensor | None = None
        self._logged = self._last_step = 0

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the last step: its loss is logged with the step, as a checkpoint of it leaves no step to train."""
        self._last_step = int(trainer.estimated_stepping_batches)

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: STEP_OUTPUT, batch: Step, batch_idx: int
    ) -> None:
        """Report and log."""
        step, self._loss = trainer.global_step, _loss_of(outputs)
        if step % LOG_EVERY == 0 or step == self._last_step:
            self._log(step, _loss_of(outputs))
        now = time.perf_counter()
        if now - self._reported > REPORT_EVERY_S:
            self._run.reporter.step(step)
            self._reported = now

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the last loss of a phase that ends early."""
        if self._loss is not None and self._logged != trainer.global_step:
            self._log(trainer.global_step, self._loss)

    def _log(self, step: int, latest: Tensor) -> None:
        loss = float(latest)
        if not torch.isfinite(torch.tensor(loss)):
            raise RedwoodError(f"Training diverged: the loss is {loss} after {step} steps; use a smaller --lr.")
        self._run.log({"loss": loss}, self._first_step + step)
        self._logged = step


def _loss_of(outputs: STEP_OUTPUT) -> Tensor:
    assert isinstance(outputs, Mapping)  # Lightning makes a mapping of the loss that `training_step` returns
    loss: Tensor = outputs["loss"]
    return loss


class CountFlops(Callback):
    """Tell a `FlopMeter` where training steps begin and end."""

    def __init__(self, flops: FlopMeter, network: nn.Module) -> None:
        self._flops, self._network = flops, network

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._flops.watch(self._network)

    @override
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Step, batch_idx: int) -> None:
        self._flops.start_step()

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: STEP_OUTPUT, batch: Step, batch_idx: int
    ) -> None:
        self._flops.end_step()

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._flops.unwatch()

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._flops.unwatch()


class MethodHooks(Callback):
    """Call the hooks of a method from Lightning's, before a checkpoint is written."""

    def __init__(self, method: StepMethod) -> None:
        self._method = method
        self._step: Step | None = None  # Lightning hands no batch to the hook after the backward pass

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._method.on_train_start()

    @override
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Step, batch_idx: int) -> None:
        self._step = batch
        self._method.on_batch_start(batch_idx, int(trainer.num_training_batches))

    @override
    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert self._step is not None
        self._method.after_backward(self._step)

    @override
    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        self._method.before_optimizer_step()

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: STEP_OUTPUT, batch: Step, batch_idx: int
    ) -> None:
        self._step = None
        self._method.on_batch_end(batch, _loss_of(outputs), batch_idx)


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

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: STEP_OUTPUT, batch: Step, batch_idx: int
    ) -> None:
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

    @override
    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        # The logs first: whoever resumes drops the rows after the checkpoint, but cannot make up for missing ones.
        self._run.save_logs()
        super()._save_checkpoint(trainer, filepath)
