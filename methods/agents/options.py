"""What values the library's options may have, most of which it does not check, or only once it trains."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces
from torch import Tensor
from torch.nn import functional as F

from redwood.core.checks import check_positive, check_range
from redwood.core.errors import NotApplicableError
from redwood.settings.base import Setting

if TYPE_CHECKING:
    from redwood.methods.agents.agent import Agent


# The least and the greatest value, or None if there is none; a name means the same in all agents that have it.
RANGES: dict[str, tuple[float, float | None]] = {
    "n_steps": (1, None),
    "batch_size": (1, None),
    "n_epochs": (1, None),
    "buffer_size": (1, None),
    "learning_starts": (0, None),
    "train_freq": (1, None),
    "gradient_steps": (-1, None),
    "target_update_interval": (1, None),
    "policy_delay": (1, None),
    "tau": (0, 1),
    "gamma": (0, 1),
    "gae_lambda": (0, 1),
    "clip_range": (0, None),
    "vf_coef": (0, None),
    "max_grad_norm": (0, None),
    "rms_prop_eps": (0, None),
    "target_kl": (0, None),
    "sde_sample_freq": (-1, None),
    "exploration_fraction": (0, 1),
    "exploration_initial_eps": (0, 1),
    "exploration_final_eps": (0, 1),
    "target_policy_noise": (0, None),
    "target_noise_clip": (0, None),
}


def check_options(agent: "Agent") -> None:
    """Raise `InvalidOptionError` if one of the library's options that the agent has is out of range."""
    for name, (low, high) in RANGES.items():
        if getattr(agent, name, None) is not None:
            check_range(agent, name, low, high)
    if hasattr(agent, "learning_rate"):
        check_positive(agent, "learning_rate")


POLICIES = ("MlpPolicy", "CnnPolicy")
# The smallest image that the convolutions of CnnPolicy can take.
SMALLEST_IMAGE = 36
ACTIONS = {spaces.Discrete: "a choice among actions", spaces.Box: "numbers within bounds"}
FITTING = {spaces.Discrete: "ppo, a2c or dqn", spaces.Box: "ppo, a2c, sac or td3"}


def check_spaces(agent: "Agent", setting: Setting) -> None:
    """Raise `NotApplicableError` if the agent cannot handle the setting's observations or actions."""
    actions, observations = setting.action_space, setting.observation_space
    env = getattr(setting, "env", "the environment")
    if not isinstance(actions, agent.action_spaces):
        kind = next((text for space, text in ACTIONS.items() if isinstance(actions, space)), "something else")
        others = next((text for space, text in FITTING.items() if isinstance(actions, space)), "a method of your own")
        raise NotApplicableError(
            f"{agent.reference()} cannot act in {env}, whose actions {actions} are {kind}; use {others}."
        )
    if isinstance(actions, spaces.Discrete) and actions.start != 0:
        raise NotApplicableError(
            f"{agent.reference()} counts actions from 0, but those of {env} start at {actions.start}; "
            "wrap the environment so that they start at 0."
        )
    if isinstance(actions, spaces.Box) and not (np.isfinite(actions.low).all() and np.isfinite(actions.high).all()):
        raise NotApplicableError(
            f"{agent.reference()} needs bounds of the actions, but those of {env} are {actions}; "
            "wrap the environment in gymnasium's RescaleAction or ClipAction."
        )
    if isinstance(observations, spaces.Discrete) and observations.start != 0:
        raise NotApplicableError(
            f"{agent.reference()} counts observations from 0, but those of {env} start at {observations.start}; "
            "wrap the environment so that they start at 0."
        )
    if not isinstance(observations, spaces.Box | spaces.Discrete):
        raise NotApplicableError(
            f"{agent.reference()} cannot see {env}, whose observations are {observations}; "
            "wrap the environment in gymnasium's FlattenObservation."
        )


def choose_policy(policy: str, space: Any) -> str:
    """The library's name of the network: the one asked for, or the one that suits the observations."""
    if policy != "auto":
        return policy
    from stable_baselines3.common.preprocessing import is_image_space

    if not is_image_space(space):
        return "MlpPolicy"
    sides = sorted(space.shape)[1:]
    return "CnnPolicy" if min(sides) >= SMALLEST_IMAGE else "MlpPolicy"


def channels_first(agent: "Agent") -> bool:
    """Whether the library moves the channels of the agent's images to the front."""
    shape: Any = agent.algorithm.observation_space.shape
    return bool(shape != agent.observation_space.shape)


@contextmanager
def one_hot_choices(agent: "Agent", observations: Tensor) -> Iterator[Tensor]:
    """Observations (n, ...), choices among them one-hot encoded, as the networks take them for so long.

    The library encodes them itself in each forward pass, which it cannot do under `vmap`.
    """
    space = agent.observation_space
    if not isinstance(space, spaces.Discrete):
        yield observations
        return
    networks: list[Any] = [
        network for network in agent.algorithm.policy.modules() if getattr(network, "observation_space", None) == space
    ]
    encoded = spaces.Box(0, 1, (int(space.n),))
    for network in networks:
        network.observation_space = encoded
    try:
        yield F.one_hot(observations.long(), int(space.n)).float()
    finally:
        for network in networks:
            network.observation_space = space
