"""Agents that learn from a memory of old transitions."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from redwood.methods.agents.agent import Agent

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm


def _arrays(memory: Any) -> dict[str, np.ndarray[Any, Any]]:
    """Its arrays of transitions, (capacity, copies of the environment, ...)."""
    arrays = {name: value for name, value in vars(memory).items() if isinstance(value, np.ndarray)}
    return {name: array for name, array in arrays.items() if array.shape[:1] == (memory.buffer_size,)}


def memory_state(memory: Any) -> dict[str, Any]:
    """What it holds, as tensors and plain values."""
    size = memory.size()
    rows = {name: torch.from_numpy(array[:size]) for name, array in _arrays(memory).items()}
    return {"rows": rows, "pos": memory.pos, "full": memory.full}


def load_memory(memory: Any, state: dict[str, Any]) -> None:
    """Hold what an earlier one held.

    Raises:
        ValueError: If that was a memory of another kind.
    """
    arrays, rows = _arrays(memory), {name: value.numpy() for name, value in state["rows"].items()}
    pos, full = int(state["pos"]), bool(state["full"])
    size = memory.buffer_size if full else pos
    fits = arrays.keys() == rows.keys() and 0 <= pos < memory.buffer_size
    if not fits or any(
        (rows[name].shape, rows[name].dtype) != ((size, *array.shape[1:]), array.dtype)
        for name, array in arrays.items()
    ):
        raise ValueError("its replay memory is another one")
    for name, array in arrays.items():
        array[:size] = rows[name]
    memory.pos, memory.full = pos, full


def filled_bytes(memory: Any) -> int:
    """Bytes of the transitions that it holds."""
    size = memory.size()
    return sum(array[:size].nbytes for array in _arrays(memory).values())


@dataclass
class OffPolicyAgent(Agent):
    """An agent with a replay memory, which is kept from phase to phase as far as its `buffer_size` allows."""

    def replay_buffer_options(self) -> dict[str, Any]:
        """`replay_buffer_class` and `replay_buffer_kwargs` of the library; the library's own memory if empty."""
        return {}

    def algorithm_options(self) -> dict[str, Any]:
        """The options, and which memory to use."""
        return super().algorithm_options() | self.replay_buffer_options()

    def memory_state(self) -> dict[str, Any]:
        """What the replay memory holds, as tensors and plain values."""
        return memory_state(self.algorithm.replay_buffer)

    def load_memory(self, state: dict[str, Any]) -> None:
        """Go on from an earlier `memory_state`."""
        load_memory(self.algorithm.replay_buffer, state)

    def memory_bytes(self) -> int:
        """Bytes of the transitions held."""
        return filled_bytes(self.algorithm.replay_buffer)

    def state_dict(self) -> dict[str, Any]:
        """All of an agent, and its memory."""
        return super().state_dict() | {"memory": self.memory_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with an earlier agent and its memory."""
        super().load_state_dict(state)
        self.load_memory(state["memory"])


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
