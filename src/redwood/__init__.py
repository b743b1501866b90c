"""Redwood: a tree of continual-learning settings, and the methods that apply to them."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from redwood.experiments.trained.model import TrainedModel

__version__ = "0.1.0"


def load(
    folder: str | os.PathLike[str],
    *,
    device: str = "auto",
    trust: bool = False,
    phase: int | None = None,
    **given: object,
) -> "TrainedModel":
    """What a run has learned, ready to predict; see `redwood.experiments.trained.model.load`."""
    from redwood.experiments.trained import model  # takes seconds

    return model.load(folder, device=device, trust=trust, phase=phase, **given)
