"""Off-policy agents: each update learns from a replay memory of earlier transitions."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from gymnasium import spaces
from torch import Tensor
from typing_extensions import override

from redwood.core.checks import check_choice, check_positive
from redwood.core.errors import InvalidOptionError
from redwood.core.parts import refuse_unused
from redwood.core.user_warnings import warn
from redwood.core.workers import rank
from redwood.methods.agents.agent import Agent
from redwood.methods.base import Composition, Method
from redwood.settings.rl.phase import ReinforcementPhase
from redwood.settings.rl.types import Space


def joined_reference(cls: type) -> str:
    """Return the name of an agent joined to parts, with the agent first, as `compose` names it."""
    methods = [base for base in cls.__bases__ if issubclass(base, Method)]
    return "+".join(one.reference() for one in sorted(methods, key=lambda one: one.composition is Composition.ANYWHERE))


@dataclass
class OffPolicyAgent(Agent):
    """An agent with a replay memory, which keeps the newest `buffer_size` transitions from phase to phase."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.overlap_rollout and getattr(self, "use_sde", False):
            raise InvalidOptionError(
                "--use_sde draws noise anew in each update, which --overlap_rollout true moves into the rollout that "
                "this noise is for; leave one of them out."
            )

    @override
    def fit(self, phase: ReinforcementPhase) -> None:
        if not self.phase_count and rank() == 0:
            self._warn_if_never_updated(phase.budget.total)
        super().fit(phase)

    def _warn_if_never_updated(self, steps: int) -> None:
        """Warn if a phase is over before its first update.

        Args:
            steps: Steps of the phase, of this worker.
        """
        options: Any = self  # those of the library, which each agent declares
        rollout = options.train_freq * self.n_envs
        if steps // rollout * rollout <= options.learning_starts:
            warn(
                f"Nothing is learned: --learning_starts {options.learning_starts} counts the steps of each phase, and "
                f"a phase has {steps} (--steps_per_task); use a smaller --learning_starts, or a larger "
                "--steps_per_task."
            )

    def replay_buffer_options(self) -> dict[str, object]:
        """Return `replay_buffer_class` and `replay_buffer_kwargs` of the library; it has a memory of its own.

        Raises:
            InvalidOptionError: If `task_shares` needs a memory that does not add up rewards of several steps.
        """
        if self.task_shares == "random":
            return {}
        n_steps = getattr(self, "n_steps", 1)
        if n_steps != 1:
            raise InvalidOptionError(
                f"--n_steps {n_steps} does not go with --task_shares equal; leave one of them out."
            )
        from redwood.methods.agents.task_shares import EqualSharesMemory

        kwargs = {"num_tasks": self.setting.num_tasks}
        return {"replay_buffer_class": EqualSharesMemory, "replay_buffer_kwargs": kwargs}

    @override
    def algorithm_options(self) -> dict[str, object]:
        return super().algorithm_options() | self.replay_buffer_options()

    @override
    def critic_outputs(self, observations: Tensor) -> Tensor:
        """Return each critic's value (B, C) of the action that the actor would choose; none without an actor."""
        policy, inputs = self.algorithm.policy, self.policy_input(observations)
        if not hasattr(policy, "critic"):
            return super().critic_outputs(observations)
        with torch.no_grad():
            actions = policy._predict(inputs, deterministic=True)
        return torch.cat(policy.critic(inputs, actions), dim=1)


@dataclass
class DQN(OffPolicyAgent):
    """Stable-Baselines3's DQN, with its defaults: a choice among actions only.

    Source: V. Mnih et al., Human-level control through deep reinforcement learning, Nature 518, 2015, algorithm 1.
    """

    algorithm_name: ClassVar[str] = "DQN"
    action_spaces: ClassVar[tuple[type[Space], ...]] = (spaces.Discrete,)

    learning_rate: float = 1e-4  # learning rate
    buffer_size: int = 1_000_000  # transitions that the replay memory holds
    learning_starts: int = 100  # steps of a phase before its first update, with random actions
    batch_size: int = 32  # transitions per update
    tau: float = 1.0  # share of the network that each update moves into the target network
    gamma: float = 0.99  # discount of later rewards
    train_freq: int = 4  # steps of each environment between updates
    gradient_steps: int = 1  # updates each time (-1: as many as steps)
    n_steps: int = 1  # steps whose rewards are added up before a value is estimated
    target_update_interval: int = 10_000  # steps between updates of the target network
    exploration_fraction: float = 0.1  # share of a phase in which exploration goes down
    exploration_initial_eps: float = 1.0  # share of random actions at the start of a phase
    exploration_final_eps: float = 0.05  # share of random actions after that
    max_grad_norm: float = 10  # norm that gradients are clipped to

    @override
    def outputs(self, observations: Tensor) -> Tensor:
        """Return the value of each action (B, K)."""
        values: Tensor = self.algorithm.q_net(self.policy_input(observations))
        return values


@dataclass
class SAC(OffPolicyAgent):
    """Stable-Baselines3's SAC, with its defaults: continuous actions only.

    Source: T. Haarnoja, A. Zhou, P. Abbeel, S. Levine, Soft Actor-Critic: Off-Policy Maximum Entropy Deep Reinforcement
    Learning with a Stochastic Actor, ICML 2018; the entropy coefficient is learned after T. Haarnoja et al., Soft
    Actor-Critic Algorithms and Applications, 2018, equation 18.
    """

    algorithm_name: ClassVar[str] = "SAC"
    action_spaces: ClassVar[tuple[type[Space], ...]] = (spaces.Box,)
    network_parts: ClassVar[tuple[str, ...]] = ("pi", "qf")

    learning_rate: float = 3e-4  # learning rate of all networks
    buffer_size: int = 1_000_000  # transitions that the replay memory holds
    learning_starts: int = 100  # steps of a phase before its first update, with random actions
    batch_size: int = 256  # transitions per update
    tau: float = 0.005  # share of the critics that each update moves into the target critics
    gamma: float = 0.99  # discount of later rewards
    train_freq: int = 1  # steps of each environment between updates
    gradient_steps: int = 1  # updates each time (-1: as many as steps)
    n_steps: int = 1  # steps whose rewards are added up before a value is estimated
    ent_coef: str = "auto"  # weight of the entropy: a number, auto (learned), or auto_0.1 (learned, 0.1 at first)
    target_update_interval: int = 1  # updates of the critics between two updates of the target critics
    target_entropy: str = "auto"  # entropy that a learned weight aims at: a number, or auto (minus the actions' size)
    use_sde: bool = False  # let the noise of actions depend on the state (Raffin et al., 2021)
    sde_sample_freq: int = -1  # steps after which this noise is drawn again (-1: each rollout)
    use_sde_at_warmup: bool = False  # let this noise replace random actions before the first update

    @override
    def outputs(self, observations: Tensor) -> Tensor:
        """Return means and log standard deviations (B, 2 d) of the actions, before they are squashed."""
        actor = self.algorithm.actor
        mean, log_std, latent = actor.get_action_dist_params(self.policy_input(observations))
        if self.use_sde:
            log_std = actor.action_dist.proba_distribution(mean, log_std, **latent).distribution.stddev.log()
        return torch.cat([mean, log_std], dim=1)


@dataclass
class TD3(OffPolicyAgent):
    """Stable-Baselines3's TD3, with its defaults: continuous actions only, and no noise on them after the first steps.

    Source: S. Fujimoto, H. van Hoof, D. Meger, Addressing Function Approximation Error in Actor-Critic Methods,
    ICML 2018, algorithm 1, which explores with `action_noise="normal"`. With one critic, `policy_delay=1` and
    `target_policy_noise=0` it is DDPG (T. Lillicrap et al., ICLR 2016, algorithm 1, with `action_noise="ou"`).
    """

    algorithm_name: ClassVar[str] = "TD3"
    action_spaces: ClassVar[tuple[type[Space], ...]] = (spaces.Box,)
    network_parts: ClassVar[tuple[str, ...]] = ("pi", "qf")

    learning_rate: float = 1e-3  # learning rate of all networks
    buffer_size: int = 1_000_000  # transitions that the replay memory holds
    learning_starts: int = 100  # steps of a phase before its first update, with random actions
    batch_size: int = 256  # transitions per update
    tau: float = 0.005  # share of the networks that each update moves into the target networks
    gamma: float = 0.99  # discount of later rewards
    train_freq: int = 1  # steps of each environment between updates
    gradient_steps: int = 1  # updates each time (-1: as many as steps)
    n_steps: int = 1  # steps whose rewards are added up before a value is estimated
    policy_delay: int = 2  # updates of the critics for each one of the policy
    target_policy_noise: float = 0.2  # deviation of the noise on the target policy's actions
    target_noise_clip: float = 0.5  # limit of this noise
    action_noise: str = "none"  # noise on actions that explore: none, normal, or ou (Ornstein-Uhlenbeck)
    noise_std: float = 0.1  # deviation of this noise, for actions scaled to -1..1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self, "action_noise", ("none", "normal", "ou"))
        check_positive(self, "noise_std")
        if self.action_noise == "none":
            refuse_unused(self, {"noise_std": "which adds no noise to its actions"}, self.reference())

    @override
    def algorithm_options(self) -> dict[str, object]:
        noise = None
        if self.action_noise != "none":
            from redwood.methods.agents.action_noise import make_noise

            noise = make_noise(self.action_noise, self.noise_std, spaces.flatdim(self.setting.action_space))
        return super().algorithm_options() | {"action_noise": noise}

    @override
    def outputs(self, observations: Tensor) -> Tensor:
        """Return the actions (B, d), scaled to -1..1."""
        actions: Tensor = self.algorithm.actor(self.policy_input(observations))
        return actions
