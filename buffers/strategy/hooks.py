"""Helpers of the strategy that look at a module and its hooks."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from pytorch_lightning.strategies import Strategy
from pytorch_lightning.strategies.launchers import _MultiProcessingLauncher
from torch import Tensor

from redwood.buffers.pytree import Tree
from redwood.core.errors import BufferInputError


def overridden_hook(trainer: Trainer, name: str) -> Callable[[Tree, int], Tree] | None:
    """A hook of the data module, or else of the module, if either overrides the hook of Lightning."""
    data_module: LightningDataModule | None = getattr(trainer, "datamodule", None)
    for owner in (data_module, trainer.lightning_module):
        method: Callable[[Tree, int], Tree] | None = getattr(owner, name, None)
        if method is not None and not method.__module__.startswith(("pytorch_lightning.", "lightning.")):
            return method
    return None


def refuse_dataloader_iter(module: LightningModule) -> None:
    """Raise `ValueError` if the training step of a module takes the whole loader in place of a batch."""
    if "dataloader_iter" in inspect.signature(module.training_step).parameters:
        raise BufferInputError(
            "training_step(dataloader_iter) takes its batches by itself, so that no samples can be added to them; "
            "write training_step(batch, batch_idx)."
        )


def refuse_short_lived_workers(strategy: Strategy) -> None:
    """Raise `ValueError` if a strategy starts other processes in each `fit`: the buffer would end with them."""
    launcher = strategy.launcher
    if isinstance(launcher, _MultiProcessingLauncher):
        raise BufferInputError(
            f"start_method={launcher._start_method!r} starts processes that end with each fit, and with them the "
            "buffer; choose start_method='popen' (the strategy ddp), or in a notebook one device."
        )


def is_called_by(objects: Sequence[object]) -> bool:
    """True if a method of one of these objects is among the callers of this function."""
    frame = inspect.currentframe()
    while frame is not None:
        caller = frame.f_locals.get("self") if "self" in frame.f_code.co_varnames else None
        if any(caller is one for one in objects):
            return True
        frame = frame.f_back
    return False


@contextmanager
def no_gradients(module: LightningModule) -> Iterator[None]:
    """Make all gradients of a backward pass zero, even if the loss is not finite: 0 * nan is nan.

    The backward pass takes place all the same, since the other workers wait for its gradients.
    """
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    hooks = [parameter.register_hook(torch.zeros_like) for parameter in parameters]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def check_is_finite(loss: Tensor) -> None:
    """Raise `ValueError` if a loss of weight 0 would still change gradients: 0 * nan is nan."""
    if not loss.isfinite().all():
        raise BufferInputError(
            "The loss of a repeated batch is not finite, and where weights are sharded its gradient stays; "
            "give all workers loaders of one length, or keep the loss finite."
        )
