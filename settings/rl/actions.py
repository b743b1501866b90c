"""What acting in an environment takes: the action spaces that methods can rely on, and random actions."""

from typing import Any, TypeAlias

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor

from redwood.settings.errors import NotApplicableError

ActionSpace: TypeAlias = Discrete | Box  # type: ignore[type-arg]


def check_spaces(name: str, env: gymnasium.Env[Any, Any]) -> None:
    """Raise `NotApplicableError` unless observations are arrays or numbers, and actions choices or bounded numbers."""
    for what, space in (("observations", env.observation_space), ("actions", env.action_space)):
        if not isinstance(space, Box | Discrete):
            raise NotApplicableError(
                f"--env {name} has {what} of the space {space}; wrap it to have a Box or a Discrete one."
            )
    if isinstance(env.action_space, Box) and not env.action_space.is_bounded():
        raise NotApplicableError(f"--env {name} has actions without bounds; wrap it to have a bounded Box.")


def random_actions(space: gymnasium.Space[Any], n: int, generator: torch.Generator) -> Tensor:
    """`n` actions, uniform over the space: choices (n,), or numbers (n, ...)."""
    if isinstance(space, Discrete):
        return int(space.start) + torch.randint(int(space.n), (n,), generator=generator)
    assert isinstance(space, Box)
    low, high = (torch.from_numpy(np.asarray(bound, dtype=np.float32)) for bound in (space.low, space.high))
    return low + (high - low) * torch.rand(n, *space.shape, generator=generator)
