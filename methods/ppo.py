"""PPO (Schulman et al., 2017): many small steps on each rollout, none far from the policy that made it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from redwood.methods.agents.on_policy import OnPolicyAgent

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm


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
