"""On-policy agents: each update learns from the steps that the present policy has just taken."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from gymnasium import spaces
from torch import Tensor
from typing_extensions import override

from redwood.core.errors import InvalidOptionError
from redwood.core.parts import refuse_unused
from redwood.methods.agents.agent import Agent
from redwood.settings.rl.phase import ReinforcementPhase
from redwood.settings.rl.types import Space


@dataclass
class OnPolicyAgent(Agent):
    """An agent that learns from one rollout after the other; it drops a rollout that the budget cuts short."""

    action_spaces: ClassVar[tuple[type[Space], ...]] = (spaces.Discrete, spaces.Box)
    network_parts: ClassVar[tuple[str, ...]] = ("pi", "vf")

    def __post_init__(self) -> None:
        refuse_unused(self, {"overlap_rollout": "whose steps have to come from its latest policy"}, self.reference())
        super().__post_init__()

    @override
    def algorithm_options(self) -> dict[str, object]:
        options = super().algorithm_options()
        if self.task_shares == "random":
            return options
        from redwood.methods.agents.task_shares import EqualSharesRollout

        kwargs = {"num_tasks": self.setting.num_tasks}
        return options | {"rollout_buffer_class": EqualSharesRollout, "rollout_buffer_kwargs": kwargs}

    @override
    def fit(self, phase: ReinforcementPhase) -> None:
        """Learn from one phase.

        Raises:
            InvalidOptionError: If the phase has fewer steps than one rollout, so that nothing would be learned.
        """
        n_steps: int = self.algorithm.n_steps
        rollout = n_steps * self.n_envs
        if rollout > phase.budget.total:
            raise InvalidOptionError(
                f"--n_steps {n_steps} of --n_envs {self.n_envs} make a rollout of {rollout:,} steps, "
                f"but a phase has {phase.budget.total:,}; use a smaller --n_steps, or a larger --steps_per_task."
            )
        super().fit(phase)

    @override
    def outputs(self, observations: Tensor) -> Tensor:
        """Return the logits of the actions (B, K), or their means and log standard deviations (B, 2 d)."""
        distribution = self.algorithm.policy.get_distribution(self.policy_input(observations)).distribution
        if isinstance(self.setting.action_space, spaces.Discrete):
            logits: Tensor = distribution.logits
            return logits
        return torch.cat([distribution.mean, distribution.stddev.log()], dim=1)

    @override
    def critic_outputs(self, observations: Tensor) -> Tensor:
        """Return the value of each observation (B, 1)."""
        values: Tensor = self.algorithm.policy.predict_values(self.policy_input(observations))
        return values


@dataclass
class A2C(OnPolicyAgent):
    """Stable-Baselines3's A2C, with its defaults: the synchronous version of A3C.

    Source: V. Mnih et al., Asynchronous Methods for Deep Reinforcement Learning, ICML 2016, section 4 and algorithm S3.
    """

    algorithm_name: ClassVar[str] = "A2C"

    learning_rate: float = 7e-4  # learning rate
    n_steps: int = 5  # steps of each environment per rollout
    gamma: float = 0.99  # discount of later rewards
    gae_lambda: float = 1.0  # weight of long returns in the advantages
    ent_coef: float = 0.0  # weight of the entropy of the actions
    vf_coef: float = 0.5  # weight of the loss of the values
    max_grad_norm: float = 0.5  # norm that gradients are clipped to
    rms_prop_eps: float = 1e-5  # number that RMSprop adds to its divisor
    use_rms_prop: bool = True  # use RMSprop as the optimizer; else Adam
    use_sde: bool = False  # let the noise of continuous actions depend on the state (Raffin et al., 2021)
    sde_sample_freq: int = -1  # steps after which this noise is drawn again (-1: each rollout)
    normalize_advantage: bool = False  # scale the advantages of each rollout to mean 0 and deviation 1


@dataclass
class PPO(OnPolicyAgent):
    """Stable-Baselines3's PPO, with its defaults.

    Source: J. Schulman, F. Wolski, P. Dhariwal, A. Radford, O. Klimov, Proximal Policy Optimization Algorithms, 2017,
    equations 7 (the clipped objective) and 9 (with value loss and entropy).
    """

    algorithm_name: ClassVar[str] = "PPO"

    learning_rate: float = 3e-4  # learning rate
    n_steps: int = 2048  # steps of each environment per rollout
    batch_size: int = 64  # samples per update
    n_epochs: int = 10  # passes over each rollout
    gamma: float = 0.99  # discount of later rewards
    gae_lambda: float = 0.95  # weight of long returns in the advantages
    clip_range: float = 0.2  # largest change of the probability of an action, as a share of it
    clip_range_vf: float | None = None  # largest change of the value of a state (default: no limit)
    normalize_advantage: bool = True  # scale the advantages of each batch to mean 0 and deviation 1
    ent_coef: float = 0.0  # weight of the entropy of the actions
    vf_coef: float = 0.5  # weight of the loss of the values
    max_grad_norm: float = 0.5  # norm that gradients are clipped to
    use_sde: bool = False  # let the noise of continuous actions depend on the state (Raffin et al., 2021)
    sde_sample_freq: int = -1  # steps after which this noise is drawn again (-1: each rollout)
    target_kl: float | None = None  # divergence from the rollout's policy that ends its updates (default: none)
