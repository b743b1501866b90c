"""Checks of the options that say how a gradient method learns: its optimizer, schedule, gradients, end and images."""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from redwood.core.checks import Options, check_range, refuse_unused
from redwood.core.errors import InvalidOptionError
from redwood.methods.training.augmentations import check_augmentation
from redwood.methods.training.optimizers import OptimizedMethod, check_optimizer
from redwood.methods.training.schedules import check_schedule
from redwood.settings.phase import Phase


class Recipe(OptimizedMethod, Options, Protocol):
    """The options of a training; see `LightningMethod`."""

    unused_options: ClassVar[Mapping[str, str]]
    clip_norm: float
    clip_value: float
    accumulate_grad_batches: int
    patience: int
    augmentation: Any

    @classmethod
    def reference(cls) -> str:
        """The key of the method."""


def check_recipe(method: Recipe) -> None:
    """Raise `InvalidOptionError` if an option is out of range, contradicts another one, or has no effect."""
    for cls in type(method).__mro__:  # of joined methods, each refuses its own
        refuse_unused(method, vars(cls).get("unused_options", {}), method.reference())
    check_optimizer(method)
    check_schedule(method)
    check_range(method, "clip_norm", 0)
    check_range(method, "clip_value", 0)
    check_range(method, "accumulate_grad_batches", 1)
    check_range(method, "patience", 0)
    check_augmentation(method.augmentation)
    if method.clip_norm and method.clip_value:
        raise InvalidOptionError(
            f"--clip_norm {method.clip_norm} and --clip_value {method.clip_value} both limit the gradient; choose one."
        )


def check_phase(patience: int, phase: Phase) -> None:
    """Raise `InvalidOptionError` if `--patience` is given, and there is nothing to watch in a phase."""
    if patience and phase.validation is None:
        raise InvalidOptionError(
            f"--patience {patience} watches samples that are held out from training, but phase {phase.index} holds out "
            "none; give --validation, such as 0.1, or leave it out."
        )
    if patience and phase.train.epochs == 1:
        raise InvalidOptionError(
            f"--patience {patience} counts passes over the data of a phase, but this setting goes through it once; "
            "leave it out, or use a setting that announces its tasks, with --passes."
        )
