"""Which runs can be trained side by side: what their options say before they start, and what each phase says."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from redwood.engine.devices import device_type
from redwood.engine.run import Run
from redwood.methods.lightning import LightningMethod
from redwood.methods.training.stacked_network import why_not_stackable
from redwood.settings.base import Setting
from redwood.settings.phase import Phase

# Optimizers that treat each element of a parameter by itself.
ELEMENTWISE = frozenset(
    {"adadelta", "adagrad", "adam", "adamax", "adamw", "asgd", "nadam", "radam", "rmsprop", "rprop", "sgd"}
)
# What a class must have as its base has it: the stack stands in its place.
REPLACED = ("fit", "make_module", "callbacks", "parameter_groups", "forward", "outputs", "phase_lr")
# Options of a method that one common step does not serve, and the values that do.
OPTIONS = {
    "trainable": "all",
    "optimizer_state": "reset",
    "lr_schedule": "constant",
    "accumulate_grad_batches": 1,
    "patience": 0,
    "augmentation": "none",
    "dropout": 0.0,
    "asynchronous": False,
}


def why_not_stacked(setting: Setting, method: object, run: Run) -> str | None:
    """Why runs of these options that differ in the seed are not trained side by side, as a clause; None if they are."""
    return next(_reasons(setting, method, run), None)


def _reasons(setting: Any, method: Any, run: Run) -> Iterator[str]:
    if not isinstance(method, LightningMethod) or not method.stackable:
        yield f"{method.reference()} is not declared to be stackable"
        return
    for name in REPLACED:
        if getattr(type(method), name) is not getattr(LightningMethod, name):
            yield f"{method.reference()} has its own {name}"
    for name, value in OPTIONS.items():
        if getattr(method, name, value) != value:
            yield f"--{'async' if name == 'asynchronous' else name} is given"
    if method.optimizer not in ELEMENTWISE:
        yield f"--optimizer {method.optimizer} looks at whole tensors"
    yield from _reasons_of_run(setting, run)


def _reasons_of_run(setting: Any, run: Run) -> Iterator[str]:
    if setting.workers > 1:
        yield f"each run has {setting.workers} workers"
    if getattr(setting, "validation", 0):
        yield "--validation has samples scored after each pass"
    if setting.assumptions.labels_on_request:
        yield "labels are asked for"
    if device_type(run.accelerator) != "cpu":
        yield "they train on a GPU"
    if run.precision != "32-true":
        yield f"--precision is {run.precision}"
    if run.logger_names != ("csv",) or run.uses_wandb:
        yield "a logger is open for each run"


def why_not_now(methods: Sequence[LightningMethod], phases: Sequence[Phase]) -> str | None:
    """Why these methods cannot be trained on these phases side by side, as a clause; None if they can."""
    first = methods[0].network
    reason = why_not_stackable(first, methods[0].setting.observation_space.shape or ())
    if reason is not None:
        return reason
    if any(not _alike(method.network, first) for method in methods):
        return "the networks of the seeds differ"
    for method, phase in zip(methods, phases, strict=True):
        run = method.run
        if run.saves_inside_phases and phase.steps > run.checkpoint_every:
            return f"a phase has {phase.steps} steps, and --checkpoint_every {run.checkpoint_every} saves inside of it"
        if phase.validation is not None:
            return "samples are held out from training"
    return None


def _alike(network: nn.Module, other: nn.Module) -> bool:
    """Whether two networks differ in their parameters alone."""
    shapes = [[(name, p.shape) for name, p in each.named_parameters()] for each in (network, other)]
    buffers = [dict(each.named_buffers()) for each in (network, other)]
    return (
        [type(part) for part in network.modules()] == [type(part) for part in other.modules()]
        and shapes[0] == shapes[1]
        and buffers[0].keys() == buffers[1].keys()
        and all(torch.equal(value, buffers[1][name]) for name, value in buffers[0].items())
    )
