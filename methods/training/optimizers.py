"""Optimizers by name, with their arguments, and the schedule of the learning rate."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from redwood.core.errors import InvalidOptionError, reason_of
from redwood.core.state import State
from redwood.engine.run import Run
from redwood.methods.training.arguments import read_arguments
from redwood.methods.training.schedules import SCHEDULES, Moment, ScheduledMethod, check_length

# Those of torch that do not go with a training step here, and why.
REFUSED: Mapping[str, str] = {
    "lbfgs": "computes the loss several times in each step, and a buffer would take in the samples as often",
    "sparseadam": "takes sparse gradients alone, which no network here has",
}
OPTIMIZERS: Mapping[str, type[Optimizer]] = {
    name.lower(): cls
    for name, cls in sorted(vars(torch.optim).items(), key=lambda item: item[0].lower())
    if isinstance(cls, type) and issubclass(cls, Optimizer) and cls is not Optimizer and name.lower() not in REFUSED
}
# Arguments of optimizers that have an option of their own, or that a training step here has no use for.
OPTIONS_OF_THEIR_OWN = ("lr", "weight_decay")
NOT_OFFERED = ("params", "maximize", "differentiable", "capturable")


class OptimizedMethod(ScheduledMethod, Protocol):
    """What decides about the optimizer of a phase; see `LightningMethod`."""

    optimizer: str
    optimizer_options: list[str]
    momentum: float
    weight_decay: float
    optimizer_state: str
    phase_count: int
    kept: State | None
    run: Run

    @property
    def phase_lr(self) -> float:
        """Learning rate of the phase."""

    def parameter_groups(self) -> Sequence[dict[str, Any]]:
        """What is trained, in groups that may have learning rates of their own."""


def check_optimizer(method: Any) -> None:
    """Raise `InvalidOptionError` if a method's optimizer is unknown, or cannot have its arguments."""
    name = method.optimizer
    if name in REFUSED:
        raise InvalidOptionError(f"--optimizer {name} {REFUSED[name]}; choose one of {', '.join(OPTIMIZERS)}.")
    if name not in OPTIMIZERS:
        raise InvalidOptionError(f"--optimizer {name} is unknown; choose one of {', '.join(OPTIMIZERS)}.")
    if name != "sgd" and method.momentum != type(method).momentum:
        raise InvalidOptionError(
            f"--momentum {method.momentum} is of sgd, and has no effect on {name}; leave it out, or use "
            "--optimizer_options if it has such an argument."
        )
    arguments = optimizer_arguments(method)
    if not method.optimizer_options and min(method.lr, method.momentum, method.weight_decay) >= 0:
        return  # nothing is left to refuse, and the first optimizer of a process loads torch's compiler for a second
    try:
        trial = nn.Parameter(torch.ones(2, 2))
        trial.grad = torch.ones(2, 2)
        OPTIMIZERS[name]([trial], lr=method.lr, **arguments).step()  # type: ignore[call-arg]
    except (ValueError, TypeError, RuntimeError, ArithmeticError) as error:
        given = " ".join([name, *method.optimizer_options])
        raise InvalidOptionError(
            f"--optimizer {given} cannot be made ({reason_of(error)}); change its arguments."
        ) from error


def optimizer_arguments(method: Any) -> dict[str, Any]:
    """What the optimizer of a method gets beside the learning rate.

    Raises:
        InvalidOptionError: If `optimizer_options` names something else than an argument with a value of its type.
    """
    parameters = inspect.signature(OPTIMIZERS[method.optimizer]).parameters
    own = {"weight_decay": method.weight_decay} if "weight_decay" in parameters else {}
    if method.weight_decay and not own:
        raise InvalidOptionError(
            f"--weight_decay {method.weight_decay} has no effect on {method.optimizer}, which has none; leave it out."
        )
    if method.optimizer == "sgd":
        own["momentum"] = method.momentum
    for item in method.optimizer_options:
        name = str(item).partition("=")[0]
        if name in own or name in OPTIONS_OF_THEIR_OWN:
            raise InvalidOptionError(f"--optimizer_options {item} has an option of its own; give --{name}.")
    accepted = {
        name: parameter
        for name, parameter in parameters.items()
        if name not in (*own, *OPTIONS_OF_THEIR_OWN, *NOT_OFFERED)
    }
    return own | read_arguments("optimizer_options", method.optimizer_options, accepted)


def make_optimizer(method: OptimizedMethod, phase_steps: int, passes: float) -> tuple[Optimizer, LambdaLR | None]:
    """Optimizer and learning-rate schedule of one phase; None for a constant rate, which needs no step of its own.

    With `optimizer_state="reset"` both start anew, and a schedule ends within the phase. With `"keep"` the optimizer
    goes on with its state from the phase before, and one schedule extends over all phases: a cosine falls to zero at
    the end of the last one, by an equal part of the half wave in each, and passes are counted from the first one on.
    Both start each phase from its own learning rate (`lr_decay`).

    Args:
        method: Its options.
        phase_steps: Steps of the optimizer in the phase.
        passes: Passes over the data of the phase that these steps make.

    Raises:
        InvalidOptionError: If the schedule is longer than the training, or the optimizer cannot train the network.
    """
    optimizer = bare_optimizer(method)
    keeps = method.optimizer_state == "keep"
    done, phases = (method.phase_count, method.run.num_phases) if keeps else (0, 1)
    check_length(method, passes * phases)
    if method.lr_schedule == "constant":
        return optimizer, None

    def factor(step: int) -> float:
        begin, end = done + step / phase_steps, done + (step + 1) / phase_steps
        moment = Moment(begin / phases, begin * passes, end * passes, phases * passes)
        return SCHEDULES[method.lr_schedule](method, moment)

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
    arguments = {"lr": method.phase_lr, **optimizer_arguments(method)}
    try:
        return OPTIMIZERS[method.optimizer](parameters, **arguments)  # type: ignore[arg-type]
    except ValueError as error:  # such as muon, which trains matrices alone
        raise InvalidOptionError(
            f"--optimizer {method.optimizer} cannot train this network ({reason_of(error)}); choose another one."
        ) from error
