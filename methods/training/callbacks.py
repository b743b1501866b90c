"""Callbacks around training steps: FLOPs, progress, the loss in the logs, hooks, checkpoints inside a phase."""

import math
import time
from collections.abc import Mapping

from gymnasium.spaces import Box
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.utilities.types import STEP_OUTPUT
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._pytree import tree_leaves
from typing_extensions import override

from redwood.core.errors import RedwoodError
from redwood.engine.run import Run
from redwood.engine.signals import stop
from redwood.engine.stop_vote import StopVote
from redwood.methods.lightning import LightningMethod
from redwood.methods.training.flops import FlopMeter
from redwood.methods.training.step import Step
from redwood.settings.scores.answers import Space

# The factor by which a loss may rise. Beyond it, adding a usual loss does not change a float32 loss.
MOST_GROWTH = 2.0**23
LOG_EVERY = 50
LOGGED_DENSELY = 1000  # rows of a run until the interval between rows doubles, again and again
REPORT_EVERY_S = 0.1


def log_interval(step: int, every: int) -> int:
    """Steps between two rows of the logs at a step of the run: `every` then twice as many each time that it doubles.

    `metrics.csv` is part of each checkpoint. So the rows of a run grow with the logarithm of its steps.

    Examples:
        >>> [log_interval(step, 50) for step in (49_999, 50_000, 100_000, 1_000_000)]
        [50, 100, 200, 1600]
    """
    return every << (step // (LOGGED_DENSELY * every)).bit_length()


def usual_loss(space: Space) -> float:
    """A loss that is nothing special: 1 of classes and labels, the largest squared target of regression."""
    if not isinstance(space, Box):
        return 1.0
    return max(1.0, float(abs(space.low).max()) ** 2, float(abs(space.high).max()) ** 2)


def check_weights(network: nn.Module, step: int) -> None:
    """Raise `RedwoodError` if a trained weight of `network` is no number: the last steps may show in no loss."""
    for name, weight in network.named_parameters():
        if weight.requires_grad:
            check_finite(name, weight, step)


def check_finite(name: str, value: Tensor, step: int) -> None:
    """Raise `RedwoodError` if a tensor that was trained for `step` steps holds NaN or infinity."""
    if not value.isfinite().all():
        raise RedwoodError(f"Training diverged: {name} is not finite after {step} steps; use a smaller --lr.")


class TrainingLog:
    """Move the bar, log the loss at intervals and at the end, and stop once training has diverged."""

    def __init__(self, run: Run, usual: float = 1.0) -> None:
        """Log a phase of `run`; `usual` is what `usual_loss` returns."""
        self._run, self._usual = run, usual
        self._first_step = run.global_step
        self._reported = 0.0
        self._first_loss: Tensor | None = None
        self._loss: Tensor | None = None
        self._logged = 0

    def note(self, step: int, loss: Tensor, *, may_be_last: bool) -> None:
        """Take in a step of the optimizer. The loss of the last one is logged at once: none may follow a checkpoint."""
        self._loss = loss
        if self._first_loss is None:
            self._first_loss = loss
        if step % LOG_EVERY == 0 or may_be_last:
            self.check(step)
        if may_be_last or step % log_interval(self._first_step + step, LOG_EVERY) == 0:
            self._log(step)

    def check(self, step: int) -> None:
        """Raise `RedwoodError` if the loss of this step is no number, or far too large: its weights are of no use.

        An optimizer such as Adam, whose steps are as long as the learning rate, may diverge by finite losses alone.
        """
        if self._loss is None or self._first_loss is None:
            return
        loss, first = float(self._loss), float(self._first_loss)
        if not abs(loss) <= MOST_GROWTH * max(self._usual, abs(first) if math.isfinite(first) else 0.0):
            raise RedwoodError(f"Training diverged: the loss is {loss:g} after {step} steps; use a smaller --lr.")

    def report(self, n_batches: int) -> None:
        """Move the bar to so many batches of the phase, unless it has just been moved."""
        now = time.perf_counter()
        if now - self._reported > REPORT_EVERY_S:
            self._run.reporter.step(n_batches)
            self._reported = now

    def end(self, step: int) -> None:
        """Log the last loss of a phase that ends early, after `step` steps."""
        if self._loss is not None and self._logged != step:
            self.check(step)
            self._log(step)

    def _log(self, step: int) -> None:
        assert self._loss is not None
        self._run.log({"loss": float(self._loss)}, self._first_step + step)
        self._logged = step


def optimizer_moved(trainer: Trainer, batch_idx: int) -> bool:
    """True if the optimizer has made a step after this batch of the epoch; else gradients are being accumulated."""
    return (batch_idx + 1) % trainer.accumulate_grad_batches == 0 or trainer.is_last_batch


class TrainingHooks(Callback):
    """Counts FLOPs, logs the loss and runs hooks around each step, before a checkpoint is written.

    One callback does all three, to save time. Lightning walks through all callbacks at each of its many hooks, which
    takes some percent of the time of a small network's step.
    """

    def __init__(self, method: LightningMethod, flops: FlopMeter, network: nn.Module, log: TrainingLog) -> None:
        self._method, self._flops, self._network, self._log = method, flops, network, log
        self._last_step = 0
        self._accumulated, self._ends_early = 1, False
        self._step: Step | None = None  # Lightning hands no batch to the hook after the backward pass

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._flops.watch(self._network)
        self._last_step = int(trainer.estimated_stepping_batches)
        self._accumulated = trainer.accumulate_grad_batches
        self._ends_early = trainer.early_stopping_callback is not None
        self._method.on_train_start()

    @override
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Step, batch_idx: int) -> None:
        self._flops.start_step()
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
        assert isinstance(outputs, Mapping)  # Lightning makes a mapping of the loss that `training_step` returns
        loss: Tensor = outputs["loss"]
        if self._accumulated > 1:
            loss = loss * self._accumulated  # Lightning has divided it by this number
        self._step = None
        self._flops.end_step()
        if self._accumulated == 1 or optimizer_moved(trainer, batch_idx):
            made = trainer.global_step
            may_be_last = made == self._last_step or (self._ends_early and trainer.is_last_batch)
            self._log.note(made, loss, may_be_last=may_be_last)
        self._log.report(trainer.fit_loop.total_batch_idx + 1)
        self._method.on_batch_end(batch, loss, batch_idx)

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._flops.unwatch()
        self._log.end(trainer.global_step)
        check_weights(self._network, trainer.global_step)

    def check(self, step: int) -> None:
        """Raise `RedwoodError` if training has diverged by now: by the loss, a weight, or a state of the method."""
        self._log.check(step)
        check_weights(self._network, step)
        for name, state in self._method.state_dict().items():
            for value in tree_leaves(state):
                if isinstance(value, Tensor):
                    check_finite(name, value, step)

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._flops.unwatch()


class CheckpointInsidePhase(ModelCheckpoint):
    """Lightning's checkpoint every so many steps of the optimizer, into the one file that a resumed run looks for.

    The last step of an epoch is saved after its validation, because a resumed run would leave the validation out.
    """

    def __init__(self, run: Run, phase: int, log: TrainingLog) -> None:
        path = run.checkpoint_path(phase)
        assert path is not None
        super().__init__(
            dirpath=path.parent,
            filename=path.stem,
            every_n_train_steps=run.checkpoint_every,
            save_on_train_epoch_end=False,
            enable_version_counter=False,
        )
        self._run, self._path, self._log = run, path, log
        self._vote = StopVote()

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: STEP_OUTPUT, batch: Step, batch_idx: int
    ) -> None:
        # Gradients that are being accumulated are in no checkpoint.
        if optimizer_moved(trainer, batch_idx) and not (trainer.is_last_batch and trainer.enable_validation):
            self._after_step(trainer, pl_module)

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._after_step(trainer, pl_module)

    def _after_step(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save every so many steps; and, if a signal asks for an end, save and end."""
        super().on_train_batch_end(trainer, pl_module, outputs=None, batch=None, batch_idx=0)  # it looks at no batch
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
        self._log.check(trainer.global_step)  # the checkpoint before is worth more than one of a diverged network
        # The logs first: whoever resumes drops the rows after the checkpoint, but cannot make up for missing ones.
        self._run.save_logs()
        super()._save_checkpoint(trainer, filepath)
