"""A2C (Mnih et al., 2016): a step along the policy gradient for each short rollout, against a learned baseline."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from redwood.methods.agents.on_policy import OnPolicyAgent

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm


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
