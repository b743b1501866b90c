"""SAC (Haarnoja et al., 2018): learns actions of high value that are as random as possible, from a memory."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from gymnasium import spaces
from torch import Tensor

from redwood.methods.agents.off_policy import OffPolicyAgent

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm


@dataclass
class SAC(OffPolicyAgent):
    """Stable-Baselines3's SAC, with its defaults: continuous actions only.

    Source: T. Haarnoja, A. Zhou, P. Abbeel, S. Levine, Soft Actor-Critic: Off-Policy Maximum Entropy Deep Reinforcement
    Learning with a Stochastic Actor, ICML 2018; the entropy coefficient is learned after T. Haarnoja et al., Soft
    Actor-Critic Algorithms and Applications, 2018, equation 18.
    """

    action_spaces: ClassVar[tuple[type[spaces.Space[Any]], ...]] = (spaces.Box,)

    learning_rate: float = 3e-4  # learning rate of all networks
    buffer_size: int = 1_000_000  # transitions that the replay memory holds
    learning_starts: int = 100  # steps of a phase before its first update, with random actions
    batch_size: int = 256  # transitions per update
    tau: float = 0.005  # share of the critics that the target critics take over each time
    gamma: float = 0.99  # discount of later rewards
    train_freq: int = 1  # steps of each environment between updates
    gradient_steps: int = 1  # updates each time (-1: as many as steps)
    n_steps: int = 1  # steps whose rewards are added up before a value is estimated
    ent_coef: str = "auto"  # weight of the entropy: a number, auto (learned), or auto_0.1 (learned, 0.1 at first)
    target_update_interval: int = 1  # updates between those of the target critics
    target_entropy: str = "auto"  # entropy that a learned weight aims at: a number, or auto (minus the actions' size)
    use_sde: bool = False  # whether noise of the actions depends on the state (Raffin et al., 2021)
    sde_sample_freq: int = -1  # steps after which this noise is drawn anew (-1: each rollout)
    use_sde_at_warmup: bool = False  # whether it takes the place of random actions before the first update

    @classmethod
    def algorithm_class(cls) -> "type[BaseAlgorithm]":
        """The library's SAC."""
        from stable_baselines3 import SAC as Algorithm

        return Algorithm

    def outputs(self, observations: Tensor) -> Tensor:
        """Means and logarithms of standard deviations (B, 2 d) of the actions, before they are squashed."""
        actor = self.algorithm.actor
        mean, log_std, latent = actor.get_action_dist_params(self.policy_input(observations))
        if self.use_sde:
            log_std = actor.action_dist.proba_distribution(mean, log_std, **latent).distribution.stddev.log()
        return torch.cat([mean, log_std], dim=1)
