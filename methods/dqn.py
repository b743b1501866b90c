"""DQN (Mnih et al., 2015): learns the value of each action from a memory of transitions, and takes the best one."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from gymnasium import spaces
from torch import Tensor

from redwood.methods.agents.off_policy import OffPolicyAgent

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm


@dataclass
class DQN(OffPolicyAgent):
    """Stable-Baselines3's DQN, with its defaults: a choice among actions only.

    Source: V. Mnih et al., Human-level control through deep reinforcement learning, Nature 518, 2015, algorithm 1.
    """

    action_spaces: ClassVar[tuple[type[spaces.Space[Any]], ...]] = (spaces.Discrete,)

    learning_rate: float = 1e-4  # learning rate
    buffer_size: int = 1_000_000  # transitions that the replay memory holds
    learning_starts: int = 100  # steps of a phase before its first update, with random actions
    batch_size: int = 32  # transitions per update
    tau: float = 1.0  # share of the network that the target network takes over each time
    gamma: float = 0.99  # discount of later rewards
    train_freq: int = 4  # steps of each environment between updates
    gradient_steps: int = 1  # updates each time (-1: as many as steps)
    n_steps: int = 1  # steps whose rewards are added up before a value is estimated
    target_update_interval: int = 10_000  # steps between updates of the target network
    exploration_fraction: float = 0.1  # share of a phase in which exploration goes down
    exploration_initial_eps: float = 1.0  # share of random actions at the start of a phase
    exploration_final_eps: float = 0.05  # share of random actions later on
    max_grad_norm: float = 10  # norm that gradients are clipped to

    @classmethod
    def algorithm_class(cls) -> "type[BaseAlgorithm]":
        """The library's DQN."""
        from stable_baselines3 import DQN as Algorithm

        return Algorithm

    def outputs(self, observations: Tensor) -> Tensor:
        """The value of each action (B, K)."""
        return self.algorithm.q_net(self.policy_input(observations))  # type: ignore[no-any-return]
