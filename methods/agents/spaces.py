"""Which spaces an agent can handle, and with which network."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces
from torch import Tensor
from torch.nn import functional as F

from redwood.settings.base import Setting
from redwood.settings.errors import NotApplicableError

if TYPE_CHECKING:
    from redwood.methods.agents.agent import Agent

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
