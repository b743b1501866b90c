"""Optimizers and learning-rate schedules by name."""

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

if TYPE_CHECKING:
    from redwood.methods.lightning import LightningMethod

OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = ("constant", "cosine")


def make_optimizer(method: "LightningMethod", network: nn.Module, phase_steps: int) -> dict[str, Any]:
    """What `LightningModule.configure_optimizers` returns for one phase of `phase_steps` steps.

    With `optimizer_state="reset"` both start anew, and a cosine falls to zero within the phase. With `"keep"` the
    optimizer goes on with its state from the phase before, and a cosine falls to zero at the end of the last phase,
    by an equal part of the half wave in each.
    """
    optimizer = _optimizer(method, network)
    if method.kept is not None:
        optimizer.load_state_dict(method.kept)
        for group in optimizer.param_groups:
            group["lr"] = method.lr
    keeps = method.optimizer_state == "keep"
    done, phases = (method.phase_count, method.run.n_phases) if keeps else (0, 1)

    def factor(step: int) -> float:
        if method.lr_schedule == "constant":
            return 1.0
        return (1 + math.cos(math.pi * min(1.0, (done + step / phase_steps) / phases))) / 2

    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}}


def _optimizer(method: "LightningMethod", network: nn.Module) -> Optimizer:
    parameters = [p for p in network.parameters() if p.requires_grad]
    if method.optimizer == "sgd":
        return torch.optim.SGD(parameters, method.lr, momentum=method.momentum, weight_decay=method.weight_decay)
    if method.optimizer == "adam":
        return torch.optim.Adam(parameters, method.lr, weight_decay=method.weight_decay)
    return torch.optim.AdamW(parameters, method.lr, weight_decay=method.weight_decay)
