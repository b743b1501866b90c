"""Optimizers and learning-rate schedules by name."""

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler

if TYPE_CHECKING:
    from redwood.methods.lightning import LightningMethod

OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = ("constant", "cosine")


def make_optimizer(method: "LightningMethod", network: nn.Module, phase_steps: int) -> dict[str, Any]:
    """What `LightningModule.configure_optimizers` returns for one phase of `phase_steps` steps.

    With `optimizer_state="reset"` both start anew, and a cosine falls to zero within the phase. With `"keep"` they go
    on from the end of the phase before, and a cosine falls over all phases, taken to be as long as this one.
    """
    optimizer = _optimizer(method, network)
    steps = phase_steps if method.optimizer_state == "reset" else phase_steps * method.run.n_phases
    scheduler = _scheduler(method, optimizer, steps)
    if method.kept is not None:
        optimizer.load_state_dict(method.kept["optimizer"])
        scheduler.load_state_dict(method.kept["scheduler"])
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def _optimizer(method: "LightningMethod", network: nn.Module) -> Optimizer:
    parameters = [p for p in network.parameters() if p.requires_grad]
    if method.optimizer == "sgd":
        return torch.optim.SGD(parameters, method.lr, momentum=method.momentum, weight_decay=method.weight_decay)
    if method.optimizer == "adam":
        return torch.optim.Adam(parameters, method.lr, weight_decay=method.weight_decay)
    return torch.optim.AdamW(parameters, method.lr, weight_decay=method.weight_decay)


def _scheduler(method: "LightningMethod", optimizer: Optimizer, steps: int) -> LRScheduler:
    if method.lr_schedule == "cosine":
        return CosineAnnealingLR(optimizer, T_max=steps)
    return LambdaLR(optimizer, lambda step: 1.0)
