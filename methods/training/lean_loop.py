"""Lightning's loop over the batches of an epoch, without costs that a step here does not need.

For a small network, Lightning 2.6 spends about as much time around a step as in the step itself. The time goes to some
thirty hooks that nobody overrides, results of `self.log` in training, and contexts of plugins that do nothing.
`LeanEpochLoop` calls only overridden hooks, in Lightning's order. It keeps Lightning's counters, so checkpoints fit
either loop. It builds on private parts of Lightning, in the versions that `TESTED` names; others keep their own loop.
"""

from collections.abc import Callable
from functools import cache, partial

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.__version__ import version
from pytorch_lightning.loops.fetchers import _DataFetcher
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.plugins.precision import Precision
from pytorch_lightning.strategies import SingleDeviceStrategy
from pytorch_lightning.utilities.combined_loader import _ModeIterator
from torch import Tensor
from torch.optim import Optimizer
from typing_extensions import override

from redwood.core.user_warnings import warn
from redwood.methods.training.module import LearnerModule
from redwood.methods.training.step import Step
from redwood.settings.batch import Batch

# Beginnings of the versions of Lightning that the tests compare this loop with.
TESTED = ("2.6.",)
HOOKS = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)
Hooks = list[Callable[..., object]]


def suits(trainer: Trainer, module: LightningModule) -> bool:
    """True if `LeanEpochLoop` does all that a step of the Trainer does.

    It does not in another version of Lightning, on several workers, or in another precision than float32. It does not
    with accumulated gradients, with loggers of Lightning, or with callbacks from outside redwood, which may use any
    hook. It does not for a module of another class, with methods of its own, or with its own steps of the optimizer.
    """
    return (
        type(trainer.strategy) is SingleDeviceStrategy
        and type(trainer.precision_plugin) is Precision
        and trainer.accumulate_grad_batches == 1
        and trainer.max_steps == -1
        and not trainer.loggers
        and all(type(callback).__module__.startswith("redwood.") for callback in callbacks_of(trainer))
        and type(module) is LearnerModule
        and module.automatic_optimization
        and not any(callable(getattr(LightningModule, name, None)) for name in vars(module))
        and _is_tested(version)
    )


@cache
def _is_tested(release: str) -> bool:
    """Return whether a version of Lightning is one of those tested; warn once if it is not."""
    if release.startswith(TESTED):
        return True
    warn(
        f"Steps of small networks take up to twice as long under pytorch-lightning {release}, whose loop redwood does "
        f"not know; it shortens that of {', '.join(f'{known}x' for known in TESTED)}."
    )
    return False


class LeanEpochLoop(_TrainingEpochLoop):
    """Trains the batches of an epoch, as Lightning's own loop does; weights and checkpoints are equal bit for bit.

    It is for a Trainer and a module that `suits` accepts. Lightning's loop takes the first batch after a checkpoint: it
    decides which parts of the step before are left to do.
    """

    @override
    def on_run_start(self, data_fetcher: _DataFetcher) -> None:
        """Look up, once per epoch, what does not change within it."""
        super().on_run_start(data_fetcher)
        trainer, module = self.trainer, self.trainer.lightning_module
        assert isinstance(module, LearnerModule)
        self._module, self._device = module, module.device
        self._hooks = {name: overridden(trainer, module, name) for name in HOOKS}
        self._is_validating = trainer.enable_validation
        self._has_schedule = bool(trainer.lr_scheduler_configs)
        if not self._restarting:  # a checkpoint of the end of an epoch left the validation as one to go on with
            self.val_loop.restarting = False
        assert isinstance(data_fetcher.combined_loader._iterator, _ModeIterator)
        self._batches = data_fetcher.combined_loader._iterator.iterators[0]

    @property
    @override
    def done(self) -> bool:
        if self._restarting or self.trainer.should_stop:
            return bool(super().done)
        return self._num_ready_batches_reached()

    @override
    def advance(self, data_fetcher: _DataFetcher) -> None:
        if self._restarting:
            super().advance(data_fetcher)
            return
        progress, hooks = self.batch_progress, self._hooks
        batch = self._next_batch(data_fetcher)
        batch_idx = progress.current.ready
        progress.is_last_batch = data_fetcher.done
        step = self._module.as_step(batch, self._device)
        progress.increment_ready()
        for hook in hooks["on_train_batch_start"]:
            hook(step, batch_idx)
        progress.increment_started()
        loss = self._update(step, batch_idx)
        progress.increment_processed()
        if self._has_schedule:
            self.update_lr_schedulers("step", update_plateau_schedulers=False)
        for hook in hooks["on_train_batch_end"]:
            hook({"loss": loss}, step, batch_idx)
        progress.increment_completed()

    def _next_batch(self, data_fetcher: _DataFetcher) -> Batch:
        """The next batch of the one loader, past the fetcher, which would look for further loaders in each batch."""
        try:
            batch: Batch = next(self._batches)
        except StopIteration:
            data_fetcher.done = True
            raise
        data_fetcher.fetched += 1
        data_fetcher.done = data_fetcher.length is not None and data_fetcher.fetched >= data_fetcher.length
        return batch

    def _update(self, step: Step, batch_idx: int) -> Tensor:
        """Take a step of the optimizer; returns the loss (scalar) without a gradient.

        Lightning hands all of it to the optimizer as a closure, which those of torch call before anything else.
        """
        optimizer, hooks = self.trainer.optimizers[0], self._hooks
        counts = self.automatic_optimization.optim_progress.optimizer
        counts.step.increment_ready()
        loss = self._module.training_step(step, batch_idx)
        noted = loss.detach().clone()  # the hooks before the backward pass may change the loss in place
        counts.zero_grad.increment_ready()
        for hook in hooks["on_before_zero_grad"]:
            hook(optimizer)
        counts.zero_grad.increment_started()
        clear_gradients(optimizer)
        counts.zero_grad.increment_completed()
        for hook in hooks["on_before_backward"]:
            hook(loss)
        loss.backward()
        for hook in hooks["on_after_backward"]:
            hook()
        for hook in hooks["on_before_optimizer_step"]:
            hook(optimizer)
        if self.trainer.gradient_clip_val:
            self._module.configure_gradient_clipping(
                optimizer, self.trainer.gradient_clip_val, self.trainer.gradient_clip_algorithm
            )
        optimizer.step()
        counts.step.increment_completed()
        return noted

    @override
    def on_advance_end(self, data_fetcher: _DataFetcher) -> None:
        if self._is_validating or self.trainer.should_stop:
            super().on_advance_end(data_fetcher)
        else:
            self._batches_that_stepped += 1


def clear_gradients(optimizer: Optimizer) -> None:
    """Clear the gradients as `optimizer.zero_grad()`, but without its costly entry in torch's profiler.

    The entry takes several times as long as the clearing.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None


def callbacks_of(trainer: Trainer) -> list[Callback]:
    """Return the callbacks of a Trainer, which its class does not declare."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return callbacks


def overridden(trainer: Trainer, module: LightningModule, name: str) -> Hooks:
    """Return the overridden hooks of a name, bound: those of the callbacks, then that of the module."""
    hooks: Hooks = [
        partial(getattr(callback, name), trainer, module)
        for callback in callbacks_of(trainer)
        if getattr(type(callback), name) is not getattr(Callback, name)
    ]
    if getattr(type(module), name) is not getattr(LightningModule, name):
        hooks.append(getattr(module, name))
    return hooks
