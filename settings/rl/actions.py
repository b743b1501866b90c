"""Spaces that every method can rely on, the check of an action, and random actions."""

from collections.abc import Callable
from operator import index
from typing import Any, TypeAlias

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete, MultiBinary
from torch import Tensor

from redwood.core.errors import NotApplicableError
from redwood.settings.rl.types import Env, Space

ActionCheck: TypeAlias = Callable[[object], bool]


def check_spaces(name: str, env: Env) -> None:
    """Raise `NotApplicableError` unless observations are arrays or numbers, and actions choices or bounded numbers."""
    for what, space in (("observations", env.observation_space), ("actions", env.action_space)):
        if not isinstance(space, Box | Discrete):
            raise NotApplicableError(
                f"--env {name} has {what} of the space {space}; wrap it to have a Box or a Discrete one."
            )
    if isinstance(env.action_space, Box) and not env.action_space.is_bounded():
        raise NotApplicableError(f"--env {name} has actions without bounds; wrap it to have a bounded Box.")


def action_check(space: Space) -> ActionCheck:
    """Return a function that says whether an action lies in `space`, in a fraction of a microsecond for most spaces.

    `Box.contains` takes no float64 for a float32, though environments do.
    """
    return _choice_check(space) if isinstance(space, Discrete) else _number_check(space)


def _choice_check(space: Discrete) -> ActionCheck:
    choices = frozenset(range(int(space.start), int(space.start + space.n)))

    def allows(action: Any) -> bool:
        try:
            return index(action) in choices  # floats have no index, though 1.0 would be found among the choices
        except TypeError:
            return False

    return allows


def _number_check(space: Space) -> ActionCheck:
    assert isinstance(space, Box)
    shape = space.shape
    bounds = list(zip(space.low.ravel().tolist(), space.high.ravel().tolist(), strict=True))
    if len(bounds) == 1:
        return _one_number_check(shape, *bounds[0])

    def allows(action: object) -> bool:
        values = np.asarray(action)
        if values.shape != shape:
            return False
        # Compared as plain numbers, in a plain loop: NumPy takes longer for the few that actions have.
        for (low, high), value in zip(bounds, values.ravel().tolist(), strict=True):  # noqa: SIM110
            if not low <= value <= high:
                return False
        return True

    return allows


def _one_number_check(shape: tuple[int, ...], low: float, high: float) -> ActionCheck:
    def allows(action: object) -> bool:
        value = np.asarray(action)
        return value.shape == shape and bool(low <= value.item() <= high)

    return allows


def random_actions(space: Space, n: int, generator: torch.Generator) -> Tensor:
    """Draw `n` actions, uniform over the space: choices (n,), label sets (n, L), or numbers (n, ...)."""
    if isinstance(space, Discrete):
        return int(space.start) + torch.randint(int(space.n), (n,), generator=generator)
    if isinstance(space, MultiBinary):
        return torch.rand(n, *space.shape, generator=generator) < 0.5
    assert isinstance(space, Box)
    low, high = (torch.from_numpy(np.asarray(bound, dtype=np.float32)) for bound in (space.low, space.high))
    return low + (high - low) * torch.rand(n, *space.shape, generator=generator)
