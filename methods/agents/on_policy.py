"""Agents that learn from what they have just done."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from redwood.methods.agents.agent import Agent
from redwood.settings.errors import InvalidOptionError
from redwood.settings.rl.phase import ReinforcementPhase


@dataclass
class OnPolicyAgent(Agent):
    """An agent that learns from one rollout after the other; one that the end of the budget cuts short is dropped."""

    action_spaces: ClassVar[tuple[type[spaces.Space[Any]], ...]] = (spaces.Discrete, spaces.Box)

    def fit(self, phase: ReinforcementPhase) -> None:
        """Learn from one phase.

        Raises:
            InvalidOptionError: If it has no steps for a single rollout, so that nothing would be learned.
        """
        rollout: int = self.n_steps * self.n_envs  # type: ignore[attr-defined]
        if rollout > phase.budget.total:
            raise InvalidOptionError(
                f"--n_steps {rollout // self.n_envs} of --n_envs {self.n_envs} make a rollout of {rollout:,} steps, "
                f"but a phase has {phase.budget.total:,}; use a smaller --n_steps, or a larger --steps_per_task."
            )
        super().fit(phase)

    def outputs(self, observations: Tensor) -> Tensor:
        """The logits of the actions (B, K), or the means and logarithms of standard deviations (B, 2 d)."""
        distribution = self.algorithm.policy.get_distribution(self.policy_input(observations)).distribution
        if isinstance(self.setting.action_space, spaces.Discrete):
            return distribution.logits  # type: ignore[no-any-return]
        return torch.cat([distribution.mean, distribution.stddev.log()], dim=1)

    def memory_bytes(self) -> int:
        """Bytes of a rollout."""
        return sum(part.nbytes for part in vars(self.algorithm.rollout_buffer).values() if isinstance(part, np.ndarray))
