"""Agents that learn from what they have just done."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from redwood.core.errors import InvalidOptionError
from redwood.methods.agents.agent import Agent
from redwood.settings.rl.phase import ReinforcementPhase

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm


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


@dataclass
class A2C(OnPolicyAgent):
    """Stable-Baselines3's A2C, with its defaults: the synchronous version of A3C.

    Source: V. Mnih et al., Asynchronous Methods for Deep Reinforcement Learning, ICML 2016, section 4 and algorithm S3.
    """

    learning_rate: float = 7e-4  # learning rate
    n_steps: int = 5  # steps of each environment per rollout
    gamma: float = 0.99  # discount of later rewards
    gae_lambda: float = 1.0  # weight of long returns in the advantages
    ent_coef: float = 0.0  # weight of the entropy of the actions
    vf_coef: float = 0.5  # weight of the loss of the values
    max_grad_norm: float = 0.5  # norm that gradients are clipped to
    rms_prop_eps: float = 1e-5  # what RMSprop adds to its divisor
    use_rms_prop: bool = True  # whether RMSprop is the optimizer, or Adam
    use_sde: bool = False  # whether noise of continuous actions depends on the state (Raffin et al., 2021)
    sde_sample_freq: int = -1  # steps after which this noise is drawn anew (-1: each rollout)
    normalize_advantage: bool = False  # whether to scale the advantages of each rollout to mean 0 and deviation 1

    @classmethod
    def algorithm_class(cls) -> "type[BaseAlgorithm]":
        """The library's A2C."""
        from stable_baselines3 import A2C as Algorithm

        return Algorithm


@dataclass
class PPO(OnPolicyAgent):
    """Stable-Baselines3's PPO, with its defaults.

    Source: J. Schulman, F. Wolski, P. Dhariwal, A. Radford, O. Klimov, Proximal Policy Optimization Algorithms, 2017,
    equations 7 (the clipped objective) and 9 (with value loss and entropy).
    """

    learning_rate: float = 3e-4  # learning rate
    n_steps: int = 2048  # steps of each environment per rollout
    batch_size: int = 64  # samples per update
    n_epochs: int = 10  # passes over each rollout
    gamma: float = 0.99  # discount of later rewards
    gae_lambda: float = 0.95  # weight of long returns in the advantages
    clip_range: float = 0.2  # how far the probability of an action may move, as a share of it
    clip_range_vf: float | None = None  # how far the value of a state may move (default: any distance)
    normalize_advantage: bool = True  # whether to scale the advantages of each batch to mean 0 and deviation 1
    ent_coef: float = 0.0  # weight of the entropy of the actions
    vf_coef: float = 0.5  # weight of the loss of the values
    max_grad_norm: float = 0.5  # norm that gradients are clipped to
    use_sde: bool = False  # whether noise of continuous actions depends on the state (Raffin et al., 2021)
    sde_sample_freq: int = -1  # steps after which this noise is drawn anew (-1: each rollout)
    target_kl: float | None = None  # divergence from the policy of the rollout that ends its updates (default: none)

    @classmethod
    def algorithm_class(cls) -> "type[BaseAlgorithm]":
        """The library's PPO."""
        from stable_baselines3 import PPO as Algorithm

        return Algorithm
