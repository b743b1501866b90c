"""Optimizers and learning-rate schedules by name."""

import math
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from redwood.core.state import State
from redwood.runs.run import Run

OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = ("constant", "cosine")


class OptimizedMethod(Protocol):
    """What decides about the optimizer of a phase; see `LightningMethod`."""

    optimizer: str
    momentum: float
    weight_decay: float
    lr_schedule: str
    optimizer_state: str
    phase_count: int
    kept: State | None
    run: Run

    @property
    def phase_lr(self) -> float:
        """Learning rate of the phase."""

    def parameter_groups(self) -> Sequence[dict[str, Any]]:
        """What is trained, in groups that may have learning rates of their own."""


def make_optimizer(method: OptimizedMethod, phase_steps: int) -> tuple[Optimizer, LambdaLR]:
    """Optimizer and learning-rate schedule of one phase of `phase_steps` steps.

    With `optimizer_state="reset"` both start anew, and a cosine falls to zero within the phase. With `"keep"` the
    optimizer goes on with its state from the phase before, and a cosine falls to zero at the end of the last phase,
    by an equal part of the half wave in each. Both start each phase from its own learning rate (`lr_decay`).
    """
    optimizer = bare_optimizer(method)
    keeps = method.optimizer_state == "keep"
    done, phases = (method.phase_count, method.run.num_phases) if keeps else (0, 1)

    def factor(step: int) -> float:
        if method.lr_schedule == "constant":
            return 1.0
        return (1 + math.cos(math.pi * min(1.0, (done + step / phase_steps) / phases))) / 2

    return optimizer, LambdaLR(optimizer, factor)


def bare_optimizer(method: OptimizedMethod) -> Optimizer:
    """The optimizer of one phase without its schedule, with the state that was kept, if any."""
    optimizer = new_optimizer(method, method.parameter_groups())
    if method.kept is not None:
        optimizer.load_state_dict(method.kept)
        for group in optimizer.param_groups:
            # Schedules count from the initial rate, which came with the state of the phase before.
            group["lr"] = group["initial_lr"] = method.phase_lr
    return optimizer


def new_optimizer(method: OptimizedMethod, parameters: Sequence[dict[str, Any]]) -> Optimizer:
    """An optimizer of the method's options, without a schedule and without a state, of these groups."""
    if method.optimizer == "sgd":
        return torch.optim.SGD(parameters, method.phase_lr, momentum=method.momentum, weight_decay=method.weight_decay)
    if method.optimizer == "adam":
        return torch.optim.Adam(parameters, method.phase_lr, weight_decay=method.weight_decay)
    return torch.optim.AdamW(parameters, method.phase_lr, weight_decay=method.weight_decay)
