"""Optimizers of torch as parts, each with its own arguments, and the optimizer of a phase with its schedule."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, make_dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from typing_extensions import override

from redwood.core.errors import InvalidOptionError, reason_of
from redwood.core.parts import Kind, Part, options_from, reduced
from redwood.methods.training.schedules import ConstantRate, Moment

if TYPE_CHECKING:
    from redwood.methods.lightning import LightningMethod

# Optimizers of torch that do not work with a training step here, and the reasons.
REFUSED: Mapping[str, str] = {
    "lbfgs": "computes the loss several times in each step, and a buffer would take in the samples as often",
    "sparseadam": "takes sparse gradients alone, which no network here has",
}
TORCH: Mapping[str, type[Optimizer]] = {
    name.lower(): cls
    for name, cls in sorted(vars(torch.optim).items(), key=lambda item: item[0].lower())
    if isinstance(cls, type) and issubclass(cls, Optimizer) and cls is not Optimizer and name.lower() not in REFUSED
}
# Arguments of optimizers that a training step here does not use, or that have their own option.
NOT_OFFERED = ("lr", "params", "maximize", "differentiable", "capturable", "foreach", "fused", "dampening")


TEXTS: Mapping[str, str] = {
    "momentum": "momentum",
    "nesterov": "use Nesterov's momentum",
    "weight_decay": "weight decay",
    "betas": "decay rates of the moments",
    "eps": "added to the denominator of a step",
    "amsgrad": "use AMSGrad (Reddi et al., 2018)",
    "decoupled_weight_decay": "let weights decay as in AdamW",
}


@dataclass
class OptimizerPart(Part):
    """The algorithm that changes the weights; its fields are the arguments of the optimizer, but for `lr`."""

    maker: ClassVar[type[Optimizer]]  # the optimizer's class
    argument_names: ClassVar[Mapping[str, str]] = {}  # options that go by other names than the optimizer's arguments

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        if not hasattr(self, "maker"):
            raise InvalidOptionError(f"--optimizer {type(self).__name__} has no maker; name the optimizer there.")
        if all(getattr(self, f.name) == f.default for f in fields(self)):
            return  # nothing is left to refuse, and a process's first optimizer loads torch's compiler for a second
        trial = nn.Parameter(torch.ones(2, 2))
        trial.grad = torch.ones(2, 2)
        try:
            self.make([{"params": [trial]}], lr=0.1).step()
        except (ValueError, TypeError, RuntimeError, ArithmeticError, LookupError) as error:
            given = " ".join(f"--{name} {value}" for name, value in self.arguments().items())
            raise InvalidOptionError(
                f"--optimizer {OPTIMIZERS.text_of(self)} cannot be made with {given} ({reason_of(error)})."
            ) from error

    def arguments(self) -> dict[str, Any]:
        """The values of the options, by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def make(self, parameters: Sequence[dict[str, object]], lr: float) -> Optimizer:
        """An optimizer of groups of parameters.

        Raises:
            ValueError: If it cannot train these, or not with these arguments.
        """
        arguments = {self.argument_names.get(name, name): value for name, value in self.arguments().items()}
        return self.maker(parameters, lr=lr, **arguments)  # type: ignore[call-arg]


class _Optimizers(Kind):
    """All optimizers of torch; their parts are made when they are asked for."""

    @override
    def names(self) -> list[str]:
        return [*TORCH, *super().names()]

    @override
    def find(self, text: str) -> type[Part]:
        if text in REFUSED:
            raise InvalidOptionError(f"--optimizer {text} {REFUSED[text]}; choose one of {', '.join(TORCH)}.")
        return _of_torch(text) if text in TORCH else super().find(text)

    @override
    def name_of(self, part: type[Part]) -> str:
        return next((name for name in TORCH if _of_torch(name) is part), "") or super().name_of(part)


OPTIMIZERS = _Optimizers("optimizer", OptimizerPart, "redwood.optimizers")


@cache
def _of_torch(name: str) -> type[OptimizerPart]:
    """The part of an optimizer of torch, by its name in small letters."""
    maker = TORCH[name]
    # Penalties have an `alpha`, the training regime an `lr_decay`, and a buffer's policy a `rho`.
    renamed = {other: f"{name}_{other}" for other in ("alpha", "lr_decay", "rho")}
    options = options_from(maker, NOT_OFFERED, renamed, TEXTS)
    for option in options:
        if option[0] == "weight_decay":
            option[2].default = 0.0  # of adamw and muon, too: the same for all, so that they can be compared
    namespace = {
        "__module__": __name__,
        "__doc__": f"`torch.optim.{maker.__name__}`.",
        "__reduce__": lambda part: reduced(part, _of_torch(name), (_remade, (name, part.arguments()))),
        "maker": maker,
        "argument_names": {new: old for old, new in renamed.items()},
    }
    return make_dataclass(maker.__name__, options, bases=(OptimizerPart,), namespace=namespace)


def _remade(name: str, arguments: dict[str, object]) -> OptimizerPart:
    """For pickle, which finds no class that was made by `_of_torch`."""
    return _of_torch(name)(**arguments)


# By name, for Python; all others are `OPTIMIZERS.find("rmsprop")`.
Sgd: Any = _of_torch("sgd")
Adam: Any = _of_torch("adam")
AdamW: Any = _of_torch("adamw")


def make_optimizer(method: "LightningMethod", phase_steps: int, passes: float) -> tuple[Optimizer, LambdaLR | None]:
    """Optimizer and learning-rate schedule of one phase; None for a constant rate, which needs no step of its own.

    With `optimizer_state="reset"` both start anew, and a schedule ends within the phase. With `"keep"` the optimizer
    goes on with its state from the phase before, and one schedule extends over all phases. Then a cosine falls to zero
    at the end of the last phase, by an equal part of the half wave in each. Passes are counted from the first phase on.
    In both cases, each phase starts from its own learning rate (`regime`).

    Args:
        method: Its options.
        phase_steps: Steps of the optimizer in the phase.
        passes: Passes over the data of the phase that these steps make.

    Raises:
        InvalidOptionError: If the schedule is longer than the training, or the optimizer cannot train the network.
    """
    optimizer = bare_optimizer(method)
    keeps, schedule = method.optimizer_state == "keep", method.lr_schedule
    done, phases = (method.phase_count, method.run.num_phases) if keeps else (0, 1)
    schedule.check_length(passes * phases)
    if isinstance(schedule, ConstantRate):
        return optimizer, None

    def factor(step: int) -> float:
        begin, end = done + step / phase_steps, done + (step + 1) / phase_steps
        return float(schedule.factor(Moment(begin / phases, begin * passes, end * passes, phases * passes)))

    return optimizer, LambdaLR(optimizer, factor)


def bare_optimizer(method: "LightningMethod") -> Optimizer:
    """The optimizer of one phase without its schedule, with the state that was kept, if any."""
    optimizer = new_optimizer(method, method.parameter_groups())
    if method.kept is not None:
        optimizer.load_state_dict(method.kept)
        for group in optimizer.param_groups:
            # Schedules count from the initial rate, which came with the state of the phase before.
            group["lr"] = group["initial_lr"] = method.phase_lr
    return optimizer


def new_optimizer(method: "LightningMethod", parameters: Sequence[dict[str, object]]) -> Optimizer:
    """An optimizer of the method's options, without a schedule and without a state, of these groups."""
    part: OptimizerPart = method.optimizer
    try:
        return part.make(parameters, method.phase_lr)
    except ValueError as error:  # such as muon, which trains matrices alone
        raise InvalidOptionError(
            f"--optimizer {OPTIMIZERS.text_of(part)} cannot train this network ({reason_of(error)}); "
            "choose another one."
        ) from error
