"""TD3 (Fujimoto et al., 2018): one best action, learned from the lesser of two estimates of its value."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from gymnasium import spaces
from torch import Tensor

from redwood.methods.agents.off_policy import OffPolicyAgent

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm


@dataclass
class TD3(OffPolicyAgent):
    """Stable-Baselines3's TD3, with its defaults: continuous actions only, and no noise on them after the first steps.

    Source: S. Fujimoto, H. van Hoof, D. Meger, Addressing Function Approximation Error in Actor-Critic Methods,
    ICML 2018, algorithm 1.
    """

    action_spaces: ClassVar[tuple[type[spaces.Space[Any]], ...]] = (spaces.Box,)

    learning_rate: float = 1e-3  # learning rate of all networks
    buffer_size: int = 1_000_000  # transitions that the replay memory holds
    learning_starts: int = 100  # steps of a phase before its first update, with random actions
    batch_size: int = 256  # transitions per update
    tau: float = 0.005  # share of the networks that the target networks take over each time
    gamma: float = 0.99  # discount of later rewards
    train_freq: int = 1  # steps of each environment between updates
    gradient_steps: int = 1  # updates each time (-1: as many as steps)
    n_steps: int = 1  # steps whose rewards are added up before a value is estimated
    policy_delay: int = 2  # updates of the critics for each one of the policy
    target_policy_noise: float = 0.2  # deviation of the noise on the target policy's actions
    target_noise_clip: float = 0.5  # limit of this noise

    @classmethod
    def algorithm_class(cls) -> "type[BaseAlgorithm]":
        """The library's TD3."""
        from stable_baselines3 import TD3 as Algorithm

        return Algorithm

    def outputs(self, observations: Tensor) -> Tensor:
        """The actions (B, d), scaled to -1..1."""
        return self.algorithm.actor(self.policy_input(observations))  # type: ignore[no-any-return]
